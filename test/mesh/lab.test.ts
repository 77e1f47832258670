import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { cgroupRoot } from '../../src/lab/cgroup.ts';
import { capture } from '../../src/lab/command.ts';
import { netnsDirectory, netnsPrefix } from '../../src/lab/layout.ts';
import { packageRoot } from '../../src/lab/package-root.ts';
import { readLab } from '../../src/lab/registry.ts';
import { startLab } from '../../src/lab/start.ts';
import {
  describeInLab,
  dial,
  labName,
  namespace,
  pod,
  service,
  startTestLab,
  whoAmIPod,
  whyNoLab,
} from './world.ts';

const withoutAgents = [
  namespace('t'),
  pod('t/client', 'a'),
  pod('t/neighbour', 'a'),
  whoAmIPod('t/server', 'b', 8080),
  whoAmIPod('t/local', 'a', 8080),
  service('t/server', { 80: 'main' }),
];

describeInLab('a lab without agents', { agents: false, manifests: withoutAgents }, (world) => {
  it.each(['v4', 'v6'] as const)(
    'carries a connection between two nodes with the real addresses (%s)',
    async (family) => {
      const client = world.lab.pod('client');
      const server = world.lab.pod('server');
      const seen = await dial(client, server[family], 8080);
      expect(seen).toMatchObject({ ok: true, remoteAddress: server[family], localAddress: client[family] });
      expect(seen.received).toBe(`${server[family]} 8080 ${client[family]} ${seen.localPort}`);
    },
  );

  it.each(['v4', 'v6'] as const)('carries a connection between two pods of one node (%s)', async (family) => {
    const seen = await dial(world.lab.pod('client'), world.lab.pod('local')[family], 8080);
    expect(seen.received).toContain(world.lab.pod('client')[family]);
  });

  it('gives a pod one interface with a /32 and a /128', async () => {
    const { stdout } = await world.lab.pod('client').exec(['ip', '-j', 'address', 'show', 'scope', 'global']);
    const addresses = (
      JSON.parse(stdout) as { ifname: string; addr_info: { local: string; prefixlen: number }[] }[]
    ).flatMap(({ ifname, addr_info }) =>
      addr_info
        .filter(({ local }) => local !== undefined)
        .map(({ local, prefixlen }) => `${ifname} ${local}/${prefixlen}`),
    );
    const { v4, v6 } = world.lab.pod('client');
    expect(addresses).toEqual([`eth0 ${v4}/32`, `eth0 ${v6}/128`]);
  });

  it('has no way out of the machine', async () => {
    const seen = await dial(world.lab.pod('client'), '198.51.100.1', 80);
    expect(['ENETUNREACH', 'EHOSTUNREACH']).toContain(seen.error);
    const sixth = await dial(world.lab.pod('client'), '2001:db8:1::1', 80);
    expect(['ENETUNREACH', 'EHOSTUNREACH', 'EACCES']).toContain(sixth.error);
  });

  it('runs programs without privileges and under a user of their own', async () => {
    const status = await world.lab.pod('client').exec(['cat', '/proc/self/status']);
    expect(status.stdout).toMatch(/CapEff:\t0+\n/);
    expect(status.stdout).toMatch(/CapBnd:\t0+\n/);
    expect(status.stdout).toMatch(/NoNewPrivs:\t1/);
    expect(world.lab.pod('client').uid).toBeGreaterThan(1000);
    expect(world.lab.pod('client').uid).not.toBe(world.lab.pod('neighbour').uid);
  });

  it('gives a pod its own hosts, resolv.conf and token, and hides the machine', async () => {
    const client = world.lab.pod('client');
    expect((await client.exec(['cat', '/etc/resolv.conf'])).stdout).toContain('search t.svc.cluster.local');
    expect((await client.exec(['cat', '/etc/hosts'])).stdout).not.toContain('server');
    const token = await client.exec(['cat', '/var/run/secrets/kubernetes.io/serviceaccount/token']);
    const claims = JSON.parse(Buffer.from(token.stdout.split('.')[1] ?? '', 'base64url').toString());
    expect(claims).toMatchObject({
      sub: 'system:serviceaccount:t:default',
      'kubernetes.io': { pod: { name: 'client' } },
    });
    expect((await client.exec(['ls', '/root'])).code).not.toBe(0);
    expect((await client.exec(['cat', '/etc/shadow'])).code).not.toBe(0);
    expect((await client.exec(['touch', '/usr/x'])).code).not.toBe(0);
    expect((await client.exec(['sh', '-c', 'echo hello > /tmp/x && cat /tmp/x'])).stdout).toBe('hello\n');
  });

  it('knows both addresses of a name, so that a program may choose its family', async () => {
    const { stdout } = await world.lab.pod('client').exec(['getent', 'ahosts', 'server.t.svc']);
    const found = new Set(stdout.split('\n').flatMap((line) => line.split(/\s+/)[0] || []));
    expect([...found].sort()).toEqual([...world.lab.serviceAddresses('t/server')].sort());
  });

  it('leads pods outside the mesh to services by name, IPv4 and IPv6, and to nothing when no endpoint is ready', async () => {
    const [v4 = '', v6 = ''] = world.lab.serviceAddresses('t/server');
    for (const address of [v4, v6, 'server', 'server.t.svc']) {
      const seen = await dial(world.lab.pod('client'), address, 80);
      expect(seen).toMatchObject({ ok: true, remotePort: 80 });
      expect(seen.received).toMatch(/ 8080 /);
    }
    await world.lab.apply(service('t/nobody', { 80: 80 }));
    const [nobody = ''] = world.lab.serviceAddresses('t/nobody');
    const silent = await world.lab
      .pod('client')
      .exec(['timeout', '0.3', 'bash', '-c', `exec 3<>/dev/tcp/${nobody}/80`]);
    expect(silent.code).not.toBe(0);
    await world.lab.delete('Service', 't/nobody');
  });

  it('keeps each pod in a cgroup of its own under its node', async () => {
    const { stdout } = await world.lab.pod('server').exec(['cat', '/proc/self/cgroup']);
    expect(stdout).toContain(`0::/hadal-${world.lab.name}/b/pods/server.t\n`);
  });

  it('runs programs of the host in the kubelet cgroup or in the system cgroup', async () => {
    const node = world.lab.node('a');
    expect((await node.exec(['cat', '/proc/self/cgroup'], { cgroup: 'kubelet' })).stdout).toContain(
      '/a/kubelet\n',
    );
    expect((await node.exec(['cat', '/proc/self/cgroup'])).stdout).toContain('/a/system\n');
  });

  it('reads and writes through a program in a pod', async () => {
    const echoed = await world.lab.pod('client').exec(['cat'], { input: 'one\ntwo\n' });
    expect(echoed).toMatchObject({ code: 0, stdout: 'one\ntwo\n' });
    const failed = await world.lab.pod('client').exec(['sh', '-c', 'echo no >&2; exit 7']);
    expect(failed).toMatchObject({ code: 7, stderr: 'no\n' });
  });

  it('shows each packet between the nodes once in a capture', async () => {
    const { client, server } = { client: world.lab.pod('client'), server: world.lab.pod('server') };
    const taken = await world.lab.capture([
      'tcp',
      'port',
      '8080',
      'and',
      'tcp[tcpflags]',
      '&',
      'tcp-syn',
      '!=',
      '0',
    ]);
    await dial(client, server.v4, 8080);
    const statistics = await taken.stop();
    expect(statistics).toEqual({ captured: 2, dropped: 0 });
    expect(readFileSync(taken.file).includes(Buffer.from(server.v4.split('.').map(Number)))).toBe(true);
  });

  it('writes the mesh state with every workload and service', () => {
    const state = readFileSync(world.lab.stateFile, 'utf8');
    expect(state).toContain('uid: Kubernetes//Pod/t/client');
    expect(state).toContain('t/server.t.svc.cluster.local');
    expect(state).not.toContain('HBONE');
  });

  it('starts a pod that is applied and removes one that is deleted', async () => {
    await world.lab.apply(pod('t/late', 'b'));
    const late = world.lab.pod('late');
    expect((await late.exec(['true'])).code).toBe(0);
    expect(readLab(world.lab.name)?.pods.map(({ name }) => name)).toContain('late');
    await world.lab.deletePod('late');
    expect(existsSync(join(netnsDirectory, late.netns))).toBe(false);
    expect(existsSync(late.cgroup)).toBe(false);
    expect(() => world.lab.pod('late')).toThrow(/there is no pod late/);
  });

  it('makes a pod again and again in the place of the one before', async () => {
    for (let round = 0; round < 8; round++) {
      await world.lab.apply(pod(`t/again${round}`, 'b'));
      expect((await world.lab.pod(`again${round}`).exec(['true'])).code).toBe(0);
      await world.lab.deletePod(`again${round}`);
    }
  });

  it('restarts a program that ends', async () => {
    await world.lab.apply(pod('t/brief', 'b', { command: ['sh', '-c', 'echo run; sleep 0.05'] }));
    await expect.poll(() => world.lab.pod('brief').restarts, { timeout: 5_000 }).toBeGreaterThan(0);
    await world.lab.deletePod('brief');
  });

  it('has a bad network between its nodes when asked, and a good one again after', async () => {
    const [client, server] = [world.lab.pod('client'), world.lab.pod('server')];
    const connectMs = async () => {
      const timing = `const t = process.hrtime.bigint(); require('net').connect(8080, '${server.v4}').on('connect', () => { console.log(Number(process.hrtime.bigint() - t) / 1e6); process.exit(); });`;
      return Number((await client.exec(['node', '-e', timing])).stdout);
    };
    const mend = await world.lab.impair({ delayMs: 20, lossPercent: 0 });
    expect(await connectMs()).toBeGreaterThan(40);
    await mend();
    await expect.poll(connectMs, { timeout: 5_000 }).toBeLessThan(20);
    const retransmitted = async () => {
      const [names = '', values = ''] = (await client.exec(['grep', '^Tcp:', '/proc/net/snmp'])).stdout.split(
        '\n',
      );
      return Number(values.split(' ')[names.split(' ').indexOf('RetransSegs')]);
    };
    const before = await retransmitted();
    const mendAgain = await world.lab.impair({ delayMs: 0, lossPercent: 40 });
    for (let round = 0; round < 4; round++) await dial(client, server.v6, 8080, 'x');
    await mendAgain();
    expect(await retransmitted()).toBeGreaterThan(before);
  });

  it('sleeps and wakes as a whole', async () => {
    await world.lab.freeze();
    const asleep = dial(world.lab.pod('client'), world.lab.pod('server').v4, 8080);
    expect(await Promise.race([asleep.then(() => 'answered'), sleep(300).then(() => 'silent')])).toBe(
      'silent',
    );
    await world.lab.freeze(false);
    expect((await asleep).ok).toBe(true);
  });
});

describe.skipIf(whyNoLab !== undefined)('labs', () => {
  it('run side by side in blocks of their own', async () => {
    const [one, other] = [
      await startTestLab({ agents: false, manifests: withoutAgents }),
      await startTestLab({ agents: false, manifests: withoutAgents }),
    ];
    try {
      expect(one.pod('server').v4).not.toBe(other.pod('server').v4);
      await Promise.all([one.waitReady(), other.waitReady()]);
      for (const lab of [one, other]) {
        expect((await dial(lab.pod('client'), lab.pod('server').v4, 8080)).ok).toBe(true);
      }
    } finally {
      await Promise.all([one.stop(), other.stop()]);
    }
    // Longer than a program waits before it is restarted: an ended lab must not start it again.
    await sleep(700);
    expect(remains(one.name)).toEqual([]);
    expect(remains(other.name)).toEqual([]);
  });

  it('join two nodes by one veth pair when asked', async () => {
    const lab = await startTestLab({ agents: false, fabric: 'direct', manifests: withoutAgents });
    try {
      await lab.waitReady();
      expect((await dial(lab.pod('client'), lab.pod('server').v4, 8080)).ok).toBe(true);
      expect(existsSync(join(netnsDirectory, `hadal-${lab.name}-fabric`))).toBe(false);
    } finally {
      await lab.stop();
    }
  });

  it('refuse a second lab of the same name', async () => {
    const lab = await startTestLab({ agents: false, manifests: withoutAgents });
    try {
      await expect(startLab({ name: lab.name, agents: false, nodes: ['a'] })).rejects.toThrow(
        /is up already/,
      );
    } finally {
      await lab.stop();
    }
  });

  it('leave nothing behind when their process was killed, once the next lab starts', async () => {
    const name = labName();
    const script = `
      const { startLab } = await import(${JSON.stringify(join(packageRoot(), 'src/lab/start.ts'))});
      await startLab({ name: ${JSON.stringify(name)}, agents: false, manifests: ${JSON.stringify(withoutAgents.join('\n---\n'))} });
      process.kill(process.pid, 'SIGKILL');`;
    const result = await capture([process.execPath, '--input-type=module', '-e', script]);
    expect(result.code).toBe(137);
    expect(remains(name)).not.toEqual([]);
    const next = await startTestLab({ agents: false, nodes: ['a'] });
    await next.stop();
    expect(remains(name)).toEqual([]);
  });

  it('leave nothing behind when they fail to start', async () => {
    const name = labName();
    await expect(startLab({ name, agents: false, nodes: ['a', 'b', 'c'], fabric: 'direct' })).rejects.toThrow(
      /exactly two/,
    );
    expect(remains(name)).toEqual([]);
  });

  it('follow the manifests of a directory, keep the last good version of a broken one and say where it is broken', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'hadal-manifests-'));
    const file = join(directory, 'pods.yaml');
    writeFileSync(file, [namespace('t'), pod('t/client', 'a')].join('\n---\n'));
    const lab = await startTestLab({ agents: false, directory, nodes: ['a'] });
    try {
      writeFileSync(file, [namespace('t'), pod('t/client', 'a'), pod('t/second', 'a')].join('\n---\n'));
      await expect
        .poll(() => lab.pods.map(({ name }) => name), { timeout: 3_000 })
        .toEqual(['client', 'second']);
      writeFileSync(
        file,
        [
          namespace('t'),
          pod('t/client', 'a'),
          pod('t/second', 'a').replace('nodeName', 'nodeNames').replace('"containers":[', '"containers":[7,'),
        ].join('\n---\n'),
      );
      await expect.poll(() => lab.rejections.length, { timeout: 3_000 }).toBeGreaterThan(0);
      expect(lab.rejections[0]).toMatchObject({
        origin: { file: 'pods.yaml', document: 3 },
        object: 'Pod t/second',
        field: 'spec.containers[0]',
      });
      expect(lab.pods.map(({ name }) => name)).toEqual(['client', 'second']);
      rmSync(file);
      await expect.poll(() => lab.pods.length, { timeout: 3_000 }).toBe(0);
    } finally {
      await lab.stop();
      rmSync(directory, { recursive: true });
    }
  });
});

/** What a lab of this name left on the machine. */
function remains(name: string): string[] {
  const spaces = existsSync(netnsDirectory) ? readdirSync(netnsDirectory) : [];
  const mounts = readFileSync('/proc/mounts', 'utf8').split('\n');
  return [
    ...spaces.filter((space) => space.startsWith(netnsPrefix(name))),
    ...mounts.filter((mount) => mount.includes(`/run/hadal-lab/${name}`)),
    ...[join(cgroupRoot(), `hadal-${name}`), `/run/hadal-lab/${name}`, `/run/hadal-lab/${name}.json`].filter(
      (path) => existsSync(path),
    ),
  ];
}
