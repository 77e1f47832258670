/** A pod whose queries are captured, its agent's resolver in this process, and a nameserver elsewhere. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import dnsPacket, { type Answer } from 'dns-packet';
import { silentLogger } from '../../src/base/logger.ts';
import type { DnsPod } from '../../src/dns/pod-resolver.ts';
import { Resolvers, type ResolversOptions } from '../../src/dns/resolvers.ts';
import { FrameReader, framed } from '../../src/lab/tcp-frames.ts';
import { createService } from '../../src/model/service.ts';
import { createSnapshot, type MeshSnapshot } from '../../src/model/snapshot.ts';
import { createWorkload } from '../../src/model/workload.ts';
import { nativeAddon } from '../../src/native/addon.ts';
import { CaptureWorld, type EnrolledPod } from './capture-world.ts';
import type { WorldPod } from './pod-world.ts';

/** Why programs that ask are missing; undefined when they are there. */
export const digMissing = existsSync('/usr/bin/dig')
  ? undefined
  : 'dig is missing (apt-get install bind9-dnsutils)';
if (digMissing !== undefined) console.warn(`SKIPPED: ${digMissing}`);

/** A nameserver in a pod, by UDP and TCP on port 53. */
export interface TestNameserver {
  readonly address: string;
  /** Names it was asked for, with the address that asked. */
  readonly asked: {
    readonly name: string;
    readonly type: string;
    readonly from: string;
    readonly by: string;
  }[];
  /** Answers by name; others get NXDOMAIN. */
  readonly records: Map<string, readonly Answer[]>;
}

export async function serveNames(
  world: CaptureWorld,
  pod: WorldPod,
  address: string,
): Promise<TestNameserver> {
  const native = nativeAddon();
  const family = address.includes(':') ? (6 as const) : (4 as const);
  const server: TestNameserver = { address, asked: [], records: new Map() };
  const open = (udp: boolean) =>
    native.openPodSocket(pod.netnsFd, {
      udp,
      family,
      listen: !udp,
      local: { address, port: 53 },
      exemptMapFd: -1,
    }).fd;
  const reply = (message: Buffer, from: string, by: string) => {
    const { id, questions = [] } = dnsPacket.decode(message);
    const { name = '', type = '' } = questions[0] ?? {};
    server.asked.push({ name: name.toLowerCase(), type, from, by });
    const known = server.records.get(name.toLowerCase());
    const answers = known?.filter((record) => record.type === type || record.type === 'CNAME') ?? [];
    const flags = dnsPacket.RECURSION_DESIRED | dnsPacket.RECURSION_AVAILABLE | (known === undefined ? 3 : 0);
    return dnsPacket.encode({ type: 'response', id: id ?? 0, flags, questions, answers });
  };
  const udp = createSocket(family === 6 ? 'udp6' : 'udp4');
  udp.on('message', (message, from) => {
    const answer = reply(message, from.address, 'udp');
    const isLong = answer.length > 1232;
    const flags = dnsPacket.TRUNCATED_RESPONSE | dnsPacket.RECURSION_DESIRED;
    const { id, questions } = dnsPacket.decode(message);
    udp.send(
      isLong
        ? dnsPacket.encode({ type: 'response', id: id ?? 0, flags, questions: questions ?? [] })
        : answer,
      from.port,
      from.address,
    );
  });
  udp.bind({ fd: open(true) });
  const tcp = createServer((connection) => {
    const frames = new FrameReader((message) =>
      connection.write(framed(reply(message, connection.remoteAddress ?? '', 'tcp'))),
    );
    connection.on('data', (bytes) => frames.push(bytes));
    connection.on('error', () => {});
  });
  tcp.listen({ fd: open(false) });
  world.onDispose(() => {
    udp.close();
    tcp.close();
  });
  return server;
}

const nobody = 'setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all --inh-caps -all'.split(
  ' ',
);

export interface RunOptions {
  readonly resolvConf?: string;
  readonly asRoot?: boolean;
  /** Default: the client. */
  readonly pod?: EnrolledPod;
}

export class DnsWorld {
  readonly world: CaptureWorld;
  readonly client: EnrolledPod;
  readonly nameserver: TestNameserver;
  readonly directory = mkdtempSync(join(tmpdir(), 'hadal-dns-'));
  snapshot: MeshSnapshot;
  resolvers: Resolvers;

  static async create(): Promise<DnsWorld> {
    const world = await CaptureWorld.create();
    try {
      const client = await world.addEnrolledPod('client');
      const elsewhere = world.addPod('names');
      const nameserver = await serveNames(world, elsewhere, elsewhere.ipv4);
      return new DnsWorld(world, client, nameserver);
    } catch (error) {
      await world.dispose();
      throw error;
    }
  }

  private constructor(world: CaptureWorld, client: EnrolledPod, nameserver: TestNameserver) {
    this.world = world;
    this.client = client;
    this.nameserver = nameserver;
    this.snapshot = bookshop(client);
    world.onDispose(() => rmSync(this.directory, { recursive: true }));
    this.resolvers = this.startResolvers();
    world.onDispose(() => this.resolvers.close());
    this.resolvers.add(this.pod());
  }

  startResolvers(options: Partial<ResolversOptions> = {}): Resolvers {
    return new Resolvers({
      native: nativeAddon(),
      capture: this.world.capture.dns,
      snapshot: () => this.snapshot,
      settings: { clusterDomain: 'cluster.local', preferredNamespace: '' },
      captureByDefault: true,
      clusterDnsService: 'kube-system/kube-dns',
      upstreamTimeoutMs: 1_000,
      logger: silentLogger,
      ...options,
    });
  }

  /** As the resolvers see the client, or another pod with the client's identity. */
  pod(options: Partial<DnsPod> = {}, enrolled = this.client): DnsPod {
    const { podIndex, netnsFd, cgroup, ipv4, ipv6, capture } = enrolled;
    return {
      podIndex,
      netnsFd,
      cgroup,
      addresses: [ipv4, ipv6],
      enrolled: { uid: 'client', namespace: 'shop', serviceAccount: 'client' },
      dnsCapture: undefined,
      captureDns: (wanted) => capture.captureDns(wanted),
      ...options,
    };
  }

  /** Runs a program in the pod as nobody, with a resolv.conf of its own. */
  async run(argv: readonly string[], options: RunOptions = {}): Promise<string> {
    const { child, output } = this.start(argv, options);
    const code = await new Promise((resolve) => child.once('close', resolve));
    if (code !== 0) throw new Error(`${argv.join(' ')} ended with ${code}: ${output()}`);
    return output();
  }

  start(
    argv: readonly string[],
    { resolvConf, asRoot = false, pod = this.client }: RunOptions = {},
  ): { child: ChildProcess; output: () => string } {
    const file = join(this.directory, `resolv-${Math.random()}.conf`);
    const standard = `nameserver ${this.nameserver.address}\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5 timeout:2 attempts:2\n`;
    writeFileSync(file, resolvConf ?? standard);
    const script =
      'echo $$ > "$1/cgroup.procs"; ns=$2; conf=$3; shift 3; ' +
      'exec nsenter --net="/run/netns/$ns" unshare --mount sh -c \'mount --bind "$0" /etc/resolv.conf && exec "$@"\' "$conf" "$@"';
    const child = spawn(
      '/bin/sh',
      ['-c', script, 'sh', pod.cgroup, pod.netns, file, ...(asRoot ? [] : nobody), ...argv],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    let text = '';
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (bytes: Buffer) => (text += bytes.toString()));
    return { child, output: () => text };
  }

  /** `dig` with short answers, one a line. */
  async dig(...args: readonly string[]): Promise<string[]> {
    const text = await this.run(['dig', '+short', '+tries=1', '+time=3', ...args]);
    return text.split('\n').filter(Boolean).sort();
  }

  dispose(): Promise<void> {
    return this.world.dispose();
  }
}

function bookshop(client: WorldPod): MeshSnapshot {
  const pod = (name: string, addresses: string[], services: string[]) =>
    createWorkload({
      uid: name,
      name,
      namespace: 'shop',
      serviceAccount: name,
      addresses,
      canonicalName: name,
      canonicalRevision: 'v1',
      services: services.map((service) => ({ service, ports: [] })),
    });
  const many = Array.from({ length: 60 }, (_, index) =>
    pod(`many-${index}`, [`10.60.9.${index}`], ['shop/many.shop.svc.cluster.local']),
  );
  return createSnapshot({
    workloads: [
      pod('client', [client.ipv4, client.ipv6], []),
      pod('stock-0', ['10.60.8.1', 'fd60::8:1'], ['shop/stock.shop.svc.cluster.local']),
      pod('stock-1', ['10.60.8.2', 'fd60::8:2'], ['shop/stock.shop.svc.cluster.local']),
      ...many,
    ],
    services: [
      createService({
        name: 'catalog',
        namespace: 'shop',
        hostname: 'catalog.shop.svc.cluster.local',
        addresses: ['10.96.0.10', 'fd96::10'].map((address) => ({ network: '', address, length: undefined })),
        ports: [{ servicePort: 80, targetPort: 8080, appProtocol: 'HTTP11', name: 'http' }],
        canonical: true,
      }),
      createService({
        name: 'stock',
        namespace: 'shop',
        hostname: 'stock.shop.svc.cluster.local',
        canonical: true,
        ports: [{ servicePort: 70, targetPort: 7070, appProtocol: 'TCP', name: 'stock' }],
      }),
      createService({
        name: 'many',
        namespace: 'shop',
        hostname: 'many.shop.svc.cluster.local',
        canonical: true,
      }),
      createService({
        name: 'payments',
        namespace: 'shop',
        hostname: 'api.payments.example',
        addresses: [{ network: '', address: '240.240.0.1', length: undefined }],
      }),
    ],
    policies: [],
  });
}
