/**
 * Attempts to get in as somebody else, under a policy that names identities, under STRICT, and under none: there each attempt that
 * the default allows succeeds, so that a refusal elsewhere is the policy's and not a mistake of the attempt.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.ts';
import type { LabPod } from '../../src/lab/pod.ts';
import { sumOf } from './observe.ts';
import { Running } from './running.ts';
import { describeInLab, namespace, pod } from './world.ts';

const port = 8080;
const program = '/opt/hadal/package/test/mesh/programs/spoof.py';
const hostProgram = new URL('programs/spoof.py', import.meta.url).pathname;

const manifests = [
  namespace('shop', { mesh: true }),
  namespace('plain'),
  pod('shop/server', 'a', { serviceAccount: 'server' }),
  pod('shop/friend', 'a', { serviceAccount: 'friend' }),
  pod('shop/leaver', 'a', { serviceAccount: 'friend' }),
  pod('shop/attacker', 'a', { serviceAccount: 'attacker' }),
  pod('plain/stranger', 'a'),
];

const security = (kind: string, spec: object) =>
  JSON.stringify({
    apiVersion: 'security.istio.io/v1',
    kind,
    metadata: { name: 'p', namespace: 'shop' },
    spec,
  });

/** `reason`: for which a connection without identity is refused; undefined: it is not. */
const regimes = [
  {
    regime: 'a policy that names identities',
    text: security('AuthorizationPolicy', {
      rules: [{ from: [{ source: { principals: ['cluster.local/ns/shop/sa/friend'] } }] }],
    }),
    kind: 'AuthorizationPolicy',
    reason: 'policy_not_allowed',
  },
  {
    regime: 'STRICT',
    text: security('PeerAuthentication', { mtls: { mode: 'STRICT' } }),
    kind: 'PeerAuthentication',
    reason: 'policy_denied',
  },
  { regime: 'no policy', text: undefined, kind: undefined, reason: undefined },
] as const;

interface Dialled {
  readonly received: string;
  readonly error: string;
}

interface Raw {
  readonly answered: boolean;
  readonly reset: boolean;
  readonly received: string;
}

async function result<T>(run: Promise<{ code: number; stdout: string; stderr: string }>): Promise<T> {
  const { code, stdout, stderr } = await run;
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as T;
}

const argv = (path: string, what: string, options: object) => [
  'python3',
  path,
  what,
  JSON.stringify(options),
];

function dialFrom(from: LabPod, to: string, options: object = {}): Promise<Dialled> {
  return result(from.exec(argv(program, 'dial', { to, port, text: `from ${from.name}`, ...options })));
}

function rawFrom(from: LabPod, to: string, options: object = {}): Promise<Raw> {
  const all = { source: from.v4, to, port, text: `by hand from ${from.name}`, ...options };
  return result(from.exec(argv(program, 'raw', all), { asRoot: true }));
}

/** What a server says of whom it accepted and what it read. */
class Server {
  readonly #program: Running;
  #from = 1;

  private constructor(running: Running) {
    this.#program = running;
  }

  static async start(of: LabPod): Promise<Server> {
    const running = new Running(of.spawn(argv(program, 'serve', { port })));
    await running.line(0);
    return new Server(running);
  }

  /** Since the last call. */
  async said(): Promise<{ accepted: number; read: string[] }> {
    // Of what was sent before now all has been said.
    await sleep(100);
    const lines = this.#program.said.slice(this.#from);
    this.#from += lines.length;
    return {
      accepted: lines.filter(({ accepted }) => accepted !== undefined).length,
      read: lines.flatMap(({ read }) => (read === undefined ? [] : [String(read)])),
    };
  }

  stop(): Promise<void> {
    return this.#program.stop();
  }
}

const refusedBy = (lab: Lab, reason: string) =>
  sumOf(lab, 'a', 'istio_tcp_connections_failed_total', { reason });
const decidedBy = (lab: Lab, reason: string) => sumOf(lab, 'a', 'hadal_kernel_decisions_total', { reason });

describeInLab('somebody who is not who it seems', { manifests }, (world) => {
  let server: Server;

  beforeAll(async () => {
    server = await Server.start(world.lab.pod('server'));
  });
  afterAll(() => server.stop());

  it('is let in while it is who it says', async () => {
    for (const from of ['friend', 'leaver'])
      expect((await dialFrom(world.lab.pod(from), world.lab.pod('server').v4)).received).not.toBe('');
    await world.lab.label('Pod', 'shop/leaver', { 'istio.io/dataplane-mode': 'none' });
  });

  describe.each(regimes)('under $regime', ({ text, kind, reason }) => {
    beforeAll(async () => {
      if (text !== undefined) await world.lab.apply(text);
      await world.lab.meshInForce();
      await server.said();
    });
    afterAll(async () => {
      if (kind !== undefined) await world.lab.delete(kind, 'shop/p');
      await world.lab.meshInForce();
    });

    /** Refused and counted, with nothing given or taken; or let in where nothing forbids it. */
    async function expectVerdict(attempt: () => Promise<{ received: string }>, attempts = 1): Promise<void> {
      const before = reason === undefined ? 0 : await refusedBy(world.lab, reason);
      const { received } = await attempt();
      const { accepted, read } = await server.said();
      if (reason === undefined) {
        expect(received).toMatch(/^secret /);
        expect(accepted).toBe(attempts);
        return;
      }
      expect({ received, accepted, read }).toEqual({ received: '', accepted: 0, read: [] });
      await expect
        .poll(() => refusedBy(world.lab, reason), { timeout: 5_000 })
        .toBeGreaterThanOrEqual(before + attempts);
    }

    it('the friend gets in', async () => {
      const { lab } = world;
      for (const to of lab.pod('server').addresses)
        expect(await dialFrom(lab.pod('friend'), to)).toEqual({ received: 'secret from friend', error: '' });
      expect(await server.said()).toEqual({ accepted: 2, read: ['from friend', 'from friend'] });
    });

    it('the kubelet’s probe gets in', async () => {
      const { lab } = world;
      const options = { to: lab.pod('server').v4, port, text: 'a probe' };
      const run = lab.node('a').exec(argv(hostProgram, 'dial', options), { cgroup: 'kubelet' });
      expect(await result<Dialled>(run)).toMatchObject({ received: 'secret a probe' });
      await server.said();
    });

    it.each(['v4', 'v6'] as const)('a process of the host over %s', async (family) => {
      const { lab } = world;
      const options = { to: lab.pod('server')[family], port, text: 'from the host' };
      await expectVerdict(() => result(lab.node('a').exec(argv(hostProgram, 'dial', options))));
    });

    it.each(['leaver', 'stranger'])('the %s, outside the mesh', async (who) => {
      const { lab } = world;
      for (const to of lab.pod('server').addresses) await expectVerdict(() => dialFrom(lab.pod(who), to));
    });

    it('a SYN made by hand in a meshed pod, past every hook', async () => {
      const { lab } = world;
      await expectVerdict(() => rawFrom(lab.pod('attacker'), lab.pod('server').v4));
    });

    it('a SYN made by hand from the address of the friend, with CAP_NET_RAW', async () => {
      const { lab } = world;
      const options = { source: lab.pod('friend').v4, timeout: 0.5 };
      const outcome = await rawFrom(lab.pod('attacker'), lab.pod('server').v4, options);
      expect(outcome).toEqual({ answered: false, reset: false, received: '' });
      expect(await server.said()).toEqual({ accepted: 0, read: [] });
    });

    it.each([
      { who: 'attacker', error: 'Cannot assign requested address', decision: 'source_not_registered' },
      { who: 'stranger', error: 'TIMEOUT', decision: 'captured_plaintext' },
    ])(
      'the $who bound to the IPv6 address of the friend by IPV6_FREEBIND',
      async ({ who, error, decision }) => {
        const { lab } = world;
        const before = await decidedBy(lab, decision);
        const options = { bind: lab.pod('friend').v6, freebind: true, timeout: 0.5 };
        const outcome = await dialFrom(lab.pod(who), lab.pod('server').v6, options);
        expect(outcome).toEqual({ received: '', error });
        expect(await server.said()).toEqual({ accepted: 0, read: [] });
        expect(await decidedBy(lab, decision)).toBeGreaterThan(before);
        // The way of the attempt is right: bound to its own address it goes as far as anybody.
        const own = await dialFrom(lab.pod('friend'), lab.pod('server').v6, {
          bind: lab.pod('friend').v6,
          freebind: true,
        });
        expect(own.received).toBe('secret from friend');
        await server.said();
      },
    );

    it('a process of the host that takes turns with a probe of the kubelet, from the same port', async () => {
      const { lab } = world;
      const node = lab.node('a');
      const common = {
        to: lab.pod('server').v4,
        port,
        bind: node.address.v4,
        sourcePort: 21_000,
        seconds: 1.5,
      };
      const race = (text: string, cgroup: 'kubelet' | 'system') =>
        result<{ tried: number; greeted: number }>(
          node.exec(argv(hostProgram, 'again', { ...common, text }), { cgroup }),
        );
      const before = reason === undefined ? 0 : await refusedBy(lab, reason);
      const [probe, other] = await Promise.all([race('a probe', 'kubelet'), race('an attack', 'system')]);
      const { read } = await server.said();
      expect(probe.greeted).toBeGreaterThan(0);
      expect(other.tried).toBeGreaterThan(1);
      if (reason === undefined) expect(other.greeted).toBeGreaterThan(0);
      else {
        expect(other.greeted).toBe(0);
        expect(new Set(read)).toEqual(new Set(['a probe']));
        expect(await refusedBy(lab, reason)).toBeGreaterThan(before);
      }
    });

    describe('with tcp_syncookies=2 in the pod', () => {
      const cookies = (value: number) =>
        world.lab
          .pod('server')
          .exec(['sh', '-c', `echo ${value} > /proc/sys/net/ipv4/tcp_syncookies`], { asRoot: true });
      beforeAll(async () => {
        expect(await cookies(2)).toMatchObject({ code: 0 });
      });
      afterAll(async () => void (await cookies(1)));

      it('who is outside gets in where anybody does', async () => {
        const { lab } = world;
        await expectVerdict(() => dialFrom(lab.pod('stranger'), lab.pod('server').v4));
        await expectVerdict(() => rawFrom(lab.pod('attacker'), lab.pod('server').v4));
      });

      it('the friend gets in, and nobody by an ACK that no SYN came before', async () => {
        const { lab } = world;
        expect((await dialFrom(lab.pod('friend'), lab.pod('server').v4)).received).toBe('secret from friend');
        await server.said();
        for (const source of [lab.pod('attacker').v4, lab.pod('friend').v4]) {
          const options = { source, withoutSyn: true, timeout: 0.4 };
          const outcome = await rawFrom(lab.pod('attacker'), lab.pod('server').v4, options);
          expect(outcome).toMatchObject({ answered: false, received: '' });
        }
        expect(await server.said()).toEqual({ accepted: 0, read: [] });
      });
    });
  });
});

describeInLab(
  'an address that another pod gets while the agent is dead',
  {
    manifests: [
      namespace('shop', { mesh: true }),
      namespace('plain'),
      pod('shop/server', 'a', { serviceAccount: 'server' }),
      pod('shop/friend', 'a', { serviceAccount: 'friend' }),
      pod('shop/former', 'a', { serviceAccount: 'friend' }),
      pod('shop/called', 'a', { serviceAccount: 'called' }),
    ],
    // Whatever becomes of the network is not noticed meanwhile.
    agentEnv: { HADAL_SAME_NODE_PROBE_INTERVAL: '1h' },
  },
  (world) => {
    const [{ text, kind, reason }] = regimes;
    const servers: Server[] = [];
    let server: Server;

    async function serverOf(name: string): Promise<Server> {
      const started = await Server.start(world.lab.pod(name));
      servers.push(started);
      return started;
    }

    /** A pod outside the mesh in the place of one inside. */
    async function replace(name: string, by: string): Promise<void> {
      const { lab } = world;
      const { addresses } = lab.pod(name);
      await lab.deletePod(`shop/${name}`);
      await lab.apply(pod(`plain/${by}`, 'a'));
      expect(lab.pod(by).addresses).toEqual(addresses);
    }

    beforeAll(async () => {
      server = await serverOf('server');
      await world.lab.apply(text);
      await world.lab.meshInForce();
    });
    afterAll(async () => {
      for (const each of servers) await each.stop();
    });

    it('lets its new pod neither in nor be taken for the old, then and later', async () => {
      const { lab } = world;
      const { agent } = lab.node('a');
      const called = await serverOf('called');
      const to = lab.pod('called').v4;
      // More than once, so that all that is remembered of it is.
      for (const from of ['former', 'friend', 'former', 'friend'])
        expect((await dialFrom(lab.pod(from), lab.pod('server').v4)).received).not.toBe('');
      await lab.delete('AuthorizationPolicy', 'shop/p');
      await lab.meshInForce();
      for (let n = 0; n < 2; n++)
        expect((await dialFrom(lab.pod('friend'), to)).received).toBe('secret from friend');
      await lab.apply(text);
      await lab.meshInForce();
      await server.said();
      const dropped = await decidedBy(lab, 'no_listener');

      await agent?.kill('SIGKILL');
      await called.stop();
      await replace('former', 'heir');
      await replace('called', 'impostor');
      const impostor = await serverOf('impostor');
      for (const address of lab.pod('server').addresses)
        expect(await dialFrom(lab.pod('heir'), address, { timeout: 0.5 })).toMatchObject({ received: '' });
      for (const address of lab.pod('impostor').addresses)
        expect(await dialFrom(lab.pod('friend'), address, { timeout: 0.5 })).toMatchObject({ received: '' });
      expect(await impostor.said()).toMatchObject({ read: [] });
      expect(await server.said()).toEqual({ accepted: 0, read: [] });

      agent?.start();
      await agent?.waitReady();
      await lab.meshInForce();
      expect(await decidedBy(lab, 'no_listener')).toBeGreaterThan(dropped);
      const before = await refusedBy(lab, reason);
      expect(await dialFrom(lab.pod('heir'), lab.pod('server').v4)).toMatchObject({ received: '' });
      await expect.poll(() => refusedBy(lab, reason), { timeout: 5_000 }).toBe(before + 1);
      expect(await server.said()).toEqual({ accepted: 0, read: [] });
      await lab.delete(kind, 'shop/p');
      await lab.meshInForce();
      expect((await dialFrom(lab.pod('heir'), lab.pod('server').v4)).received).toBe('secret from heir');
      expect((await dialFrom(lab.pod('friend'), to)).received).toBe('secret from friend');
      await server.said();
    });

    it('that the network puts in the place of a pod’s gets nobody in', async () => {
      const { lab } = world;
      await lab.apply(text);
      await lab.meshInForce();
      for (let n = 0; n < 3; n++)
        expect((await dialFrom(lab.pod('friend'), lab.pod('server').v4)).received).toBe('secret from friend');
      await server.said();
      await lab.masquerade('a');
      const before = await refusedBy(lab, reason);
      expect(await dialFrom(lab.pod('heir'), lab.pod('server').v4)).toMatchObject({ received: '' });
      expect(await rawFrom(lab.pod('friend'), lab.pod('server').v4)).toMatchObject({ received: '' });
      await expect.poll(() => refusedBy(lab, reason), { timeout: 5_000 }).toBe(before + 2);
      // What the kernel carries without a tunnel is not what its destination was told of: not a byte of it is sent.
      const unseen = await decidedBy(lab, 'destination_not_seen');
      expect(await dialFrom(lab.pod('friend'), lab.pod('server').v4)).toMatchObject({ received: '' });
      expect(await decidedBy(lab, 'destination_not_seen')).toBe(unseen + 1);
      expect(await server.said()).toEqual({ accepted: 0, read: [] });
      await lab.delete(kind, 'shop/p');
      await lab.meshInForce();
      expect((await dialFrom(lab.pod('heir'), lab.pod('server').v4)).received).toBe('secret from heir');
      expect((await rawFrom(lab.pod('friend'), lab.pod('server').v4)).received).toMatch(/^secret /);
    });
  },
);
