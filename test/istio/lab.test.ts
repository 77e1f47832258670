/** Two agents of a lab under istiod: certificates, the annotation, traffic through the tunnel, policy, and what istioctl reads of them. */
import { X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { applyManifests } from '../kubernetes/manifests.ts';
import { eventually, type Manifest, remove } from '../kubernetes/world.ts';
import { connectionsOf, connectionWhere, sectionOf } from '../mesh/observe.ts';
import { dial } from '../mesh/world.ts';
import { istioctlTable, type Noun, row } from './istioctl.ts';
import { LabUnderIstiod, port } from './lab-world.ts';
import { describeUnderIstiod, runPod } from './world.ts';

const books = 'books';

describeUnderIstiod('two agents under istiod', (world) => {
  let under: LabUnderIstiod;

  beforeAll(async () => {
    under = await LabUnderIstiod.start(world, books);
  });
  afterAll(() => under?.stop());

  const answers = async () =>
    (await dial(under.pod('caller'), under.clusterIp, 80, 'hello')).received === 'hello';
  const tunnelsTo = (name: string, protocol = 'HBONE') =>
    eventually(
      async () => (await under.protocolOf(name, 'a')) === protocol,
      `${name} by ${protocol}`,
      30_000,
    );
  const isAnnotated = (value: string) =>
    eventually(async () => (await under.annotationOf('server')) === value, `the server is ${value}`);

  it('hold pods with certificates of its authority, annotate them, and are then told to tunnel to them', async () => {
    expect(await under.protocolOf('server', 'a')).toBe('TCP');
    await under.enrolAll();
    const [certificate] = await sectionOf<
      { identity: string; state: string; rootCerts: { pem: string }[] }[]
    >(under.lab, 'b', 'certificates');
    const identity = `spiffe://cluster.local/ns/${books}/sa/server`;
    expect(certificate).toMatchObject({ identity, state: 'Available' });
    const root = new X509Certificate(readFileSync(world.istiod.rootFile));
    const prints = certificate?.rootCerts.map(({ pem }) => new X509Certificate(pem).fingerprint256);
    expect(prints).toEqual([root.fingerprint256]);
  });

  it('carry connections to services and to pods through the tunnel', async () => {
    const { lab, clusterIp } = under;
    const server = under.pod('server');
    for (const [address, to] of [
      [clusterIp, 80],
      [server.v4, port],
      [server.v6, port],
    ] as const) {
      const dialled = await dial(under.pod('caller'), address, to, 'hello');
      expect(dialled, address).toMatchObject({ ok: true, received: 'hello' });
      const seen = await connectionWhere(lab, 'a', ({ destination }) => destination.address === address);
      const identity = `spiffe://cluster.local/ns/${books}/sa/server`;
      expect(seen).toMatchObject({ path: 'tunnel', destination: { identity } });
    }
    const inbound = await connectionWhere(lab, 'b', ({ direction }) => direction === 'inbound');
    const identity = `spiffe://cluster.local/ns/${books}/sa/caller`;
    expect(inbound).toMatchObject({ path: 'tunnel', source: { identity, workload: 'caller' } });
  });

  it('enforce a policy that istiod tells, and stop when it is removed', async () => {
    const deny = denial('deny-caller', { principals: [`cluster.local/ns/${books}/sa/caller`] });
    await applyManifests(world.admin, [deny]);
    // istiod tells the workloads that name a policy before the policy itself: until then it is unknown, and refuses everybody.
    await eventually(async () => {
      const isRefused = !(await answers());
      const seen = await connectionsOf(under.lab, 'b');
      return isRefused && seen.some(({ reason }) => reason === 'policy_denied');
    }, 'the caller is refused by the policy');
    await remove(world.admin, deny);
    await eventually(answers, 'the caller gets through again');
  });

  it('write an annotation again that somebody takes away', async () => {
    const path = `/api/v1/namespaces/${books}/pods/server`;
    const body = { metadata: { annotations: { 'ambient.istio.io/redirection': null } } };
    await world.admin.request({ method: 'PATCH', path, body });
    await isAnnotated('enabled');
    await tunnelsTo('server');
  });

  it('go on while istiod is away, and learn what happened when it is back', async () => {
    await world.istiod.kill();
    expect(await answers()).toBe(true);
    await runPod(world.admin, books, 'late', { node: 'b', ip: '10.64.2.250' });
    await world.istiod.start();
    await tunnelsTo('late', 'TCP');
    expect(await answers()).toBe(true);
  });

  it('say that a pod is pending which they cannot carry again, until they can', async () => {
    const { agent, layout } = under.lab.node('b');
    await agent?.kill('SIGKILL');
    const file = join(layout.directory, 'data/pods.json');
    // What cannot be looked at is not known to be gone.
    writeFileSync(file, readFileSync(file, 'utf8').replaceAll('/run/netns/', '/etc/hostname/'));
    agent?.start();
    await agent?.waitReady();
    await isAnnotated('pending');
    await tunnelsTo('server', 'TCP');
    await under.enrol('server');
    await isAnnotated('enabled');
    await tunnelsTo('server');
  });

  it('are read by istioctl ztunnel-config', async () => {
    const { lab, clusterIp } = under;
    const { v4, v6 } = under.pod('server');
    await applyManifests(world.admin, [denial('deny-nobody', { namespaces: ['nowhere'] })]);
    const policies = () => sectionOf<unknown[]>(lab, 'a', 'policies');
    await eventually(async () => (await policies()).length > 0, 'the policy is told');
    await eventually(answers, 'the caller gets through');
    const held = [
      [clusterIp, '80'],
      [v6, String(port)],
    ].map((to) => under.pod('caller').exec(['node', '-e', holding, ...to], { timeoutMs: 15_000 }));
    let dump = '';
    const table = (noun: Noun) => istioctlTable(world, noun, dump);
    await eventually(async () => {
      dump = (await lab.node('a').agent?.get(15000, '/config_dump'))?.body ?? '';
      return (await table('connections')).split('HBONE').length > held.length;
    }, 'the dump has both connections');
    await Promise.all(held);

    const workloads = await table('workload');
    expect(workloads).toMatch(row('NAMESPACE', 'POD NAME', 'ADDRESS', 'NODE', 'WAYPOINT', 'PROTOCOL'));
    expect(workloads).toMatch(row(books, 'server', `${v4},${v6}`, 'b', 'None', 'HBONE'));
    expect(await table('service')).toMatch(row(books, 'server', clusterIp, 'None', '1/1'));
    expect(await table('policy')).toMatch(row(books, 'deny-nobody', 'Deny', 'WorkloadSelector'));
    const identity = `spiffe://cluster.local/ns/${books}/sa/caller`;
    for (const type of ['Leaf', 'Root'])
      expect(await table('certificate')).toMatch(
        row(identity, type, 'Available', 'true', '[0-9a-f]+', '\\S+Z', '\\S+Z'),
      );
    const outbound = (...columns: string[]) => row(`caller.${books}`, 'Outbound', ...columns, 'HBONE');
    const connections = await table('connections');
    expect(connections).toMatch(
      outbound(`caller.${books}:\\d+`, `server.${books}:15008`, `server.${books}.svc.cluster.local:80`),
    );
    // It knows a workload by its first address only.
    expect(connections).toMatch(outbound('\\[fd00\\S+\\]:\\d+', `\\[${v6}\\]:15008`, `\\[${v6}\\]:${port}`));
    expect(await table('all')).toContain(`caller.${books}`);
  });
});

/** Connects, says something, and stays for some seconds. */
const holding = `const s = require('net').connect({ host: process.argv[1], port: Number(process.argv[2]) }, () => s.write('x'));
  s.on('error', () => {}); setTimeout(() => s.end(), 6000);`;

/** Refuses some callers of the server. */
const denial = (name: string, source: object): Manifest => ({
  apiVersion: 'security.istio.io/v1',
  kind: 'AuthorizationPolicy',
  metadata: { name, namespace: books },
  spec: {
    action: 'DENY',
    selector: { matchLabels: { app: 'server' } },
    rules: [{ from: [{ source }] }],
  },
});
