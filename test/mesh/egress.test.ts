/** Connections out of the mesh, and what annotations take out of the capture, as an operator writes both while pods run. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { outsideAddress } from '../../src/lab/address-plan.ts';
import type { Lab } from '../../src/lab/lab.ts';
import type { Explanation } from '../../src/routing/explain.ts';
import type { AgentStatus } from '../../src/runtime/agent-status.ts';
import { agentOf, connectionWhere, sumOf } from './observe.ts';
import { dial, namespace, pod, service, startTestLab, whyNoLab } from './world.ts';

const istio = (kind: string, name: string, spec: unknown, group = 'networking') =>
  JSON.stringify({
    apiVersion: `${group}.istio.io/v1`,
    kind,
    metadata: { name, namespace: 't' },
    spec,
  });
const echoes = (...ports: number[]) =>
  `for (const port of [${ports}]) require('net').createServer({ allowHalfOpen: true }, (s) => { s.on('error', () => {}); s.pipe(s); }).listen(port, '::')`;
const outsideHost = (name: string) =>
  JSON.stringify({
    apiVersion: 'lab.hadal.io/v1alpha1',
    kind: 'OutsideHost',
    metadata: { name },
    spec: { command: ['node', '-e', echoes(8080, 9090)] },
  });
const registryOnly = istio('Sidecar', 'default', { outboundTrafficPolicy: { mode: 'REGISTRY_ONLY' } });
const freedom = istio('Sidecar', 'free', {
  workloadSelector: { labels: { app: 'free' } },
  outboundTrafficPolicy: { mode: 'ALLOW_ANY' },
});
const strict = istio('PeerAuthentication', 'strict', { mtls: { mode: 'STRICT' } }, 'security');
const sidecar = 'traffic.sidecar.istio.io/';
/** Of the outside hosts, in the order of their names. */
const [depot, partner] = [outsideAddress(0), outsideAddress(1)];

interface World {
  readonly objects?: readonly string[];
  readonly client?: Readonly<Record<string, string>>;
  readonly server?: Readonly<Record<string, string>>;
}

describe.skipIf(whyNoLab !== undefined)('a connection out of the mesh', () => {
  const directory = mkdtempSync(join(tmpdir(), 'hadal-egress-'));
  let lab: Lab;
  const within = { timeout: 5_000, interval: 30 };

  const write = ({ objects = [], client = {}, server = {} }: World = {}) => {
    const entry = istio('ServiceEntry', 'partner', {
      hosts: ['partner.example'],
      addresses: [partner.v4, partner.v6],
      ports: [{ number: 8080, name: 'tcp', protocol: 'TCP' }],
      resolution: 'STATIC',
      location: 'MESH_EXTERNAL',
      endpoints: [{ address: partner.v4 }],
    });
    const text = [
      namespace('t', { mesh: true }),
      pod('t/client', 'a', { annotations: client }),
      pod('t/free', 'a'),
      pod('t/stranger', 'a', { mesh: false }),
      pod('t/server', 'b', {
        command: ['node', '-e', echoes(8080, 9090)],
        probe: { tcpSocket: { port: 8080 } },
        annotations: server,
      }),
      service('t/server', { 80: 8080 }),
      entry,
      outsideHost('depot'),
      outsideHost('partner'),
      ...objects,
    ];
    writeFileSync(join(directory, 'all.yaml'), text.join('\n---\n'));
  };
  const outcome = async (from: string, address: string, port = 8080) => {
    const { received, error } = await dial(lab.pod(from), address, port, 'hi');
    return error || received;
  };
  const notesOf = async (node: string, name: string) =>
    (await agentOf(lab, node).admin<AgentStatus>('/status')).pods.find((each) => each.name === name)?.notes;
  const explained = async (source: string, destination: string) => {
    const query = new URLSearchParams({ source, destination });
    return await agentOf(lab, 'a').admin<Explanation>(`/explain?${query}`);
  };

  beforeAll(async () => {
    write();
    lab = await startTestLab({ directory, controlPlane: true });
    await lab.waitReady();
  });
  afterAll(async () => {
    await lab?.stop();
    rmSync(directory, { recursive: true });
  });

  it('is left alone, and told as a flow', async () => {
    for (const address of [depot.v4, depot.v6]) expect(await outcome('client', address)).toBe('hi');
    expect(
      await connectionWhere(lab, 'a', ({ destination }) => destination.address === depot.v4),
    ).toMatchObject({ path: 'untouched', reason: 'outside_mesh', pod: 't/client' });
    expect((await explained('t/client', `${depot.v4}:8080`)).verdict).toBe('allowed');
  });

  it('fails with EACCES once its namespace is REGISTRY_ONLY, but to hosts of a ServiceEntry and for whom a Sidecar frees', async () => {
    write({ objects: [registryOnly, freedom] });
    await expect.poll(() => outcome('client', depot.v4), within).toBe('EACCES');
    expect(await outcome('client', depot.v6)).toBe('EACCES');
    expect(await outcome('client', partner.v4)).toBe('hi');
    expect(await outcome('client', partner.v6)).toBe('hi');
    await expect.poll(() => outcome('free', depot.v4), within).toBe('hi');
    // All else is as ever: the mesh, names, the pod itself, whoever is not in the mesh.
    for (const name of ['server.t', lab.pod('server').v4, lab.pod('server').v6])
      expect(await outcome('client', name, name === 'server.t' ? 80 : 8080)).toBe('hi');
    expect(await outcome('client', '127.0.0.1', 1)).toBe('ECONNREFUSED');
    expect(await outcome('client', lab.pod('client').v4, 1)).toBe('ECONNREFUSED');
    expect(await outcome('stranger', depot.v4)).toBe('hi');
  });

  it('is told by status, explain and metrics then', async () => {
    expect(await notesOf('a', 't/client')).toEqual([
      expect.stringContaining('namespace t says REGISTRY_ONLY'),
    ]);
    expect(await notesOf('a', 't/free')).toBeUndefined();
    const told = await explained('t/client', `${depot.v4}:8080`);
    expect(told).toMatchObject({ verdict: 'refused', reason: 'egress_refused' });
    expect(told.outbound.join('\n')).toContain('REGISTRY_ONLY');
    expect((await explained('t/free', `${depot.v4}:8080`)).verdict).toBe('allowed');
    const failed = await sumOf(lab, 'a', 'istio_tcp_connections_failed_total', {
      reason: 'egress_refused',
      source_workload: 'client',
    });
    expect(failed).toBeGreaterThanOrEqual(2);
  });

  it('does not leak while the agent is dead, nor when it is back', { timeout: 60_000 }, async () => {
    const agent = agentOf(lab, 'a');
    await agent.kill('SIGKILL');
    for (const address of [depot.v4, depot.v6]) expect(await outcome('client', address)).toBe('EACCES');
    expect(await outcome('client', partner.v4)).toBe('ECONNREFUSED');
    expect(await outcome('free', depot.v4)).toBe('hi');
    agent.start();
    // At each moment of its start.
    const outcomes = new Set<string>();
    const ready = agent.waitReady();
    let isReady = false;
    void ready.then(() => {
      isReady = true;
    });
    while (!isReady) outcomes.add(await outcome('client', depot.v4));
    await ready;
    outcomes.add(await outcome('client', depot.v6));
    expect([...outcomes]).toEqual(['EACCES']);
    await expect.poll(() => outcome('client', partner.v4), within).toBe('hi');
  });

  it('goes to ports and ranges that annotations exclude, whatever the policy', async () => {
    write({
      objects: [registryOnly, freedom],
      client: {
        [`${sidecar}excludeOutboundPorts`]: '9090',
        [`${sidecar}excludeOutboundIPRanges`]: `${depot.v6}/128`,
      },
    });
    await expect.poll(() => outcome('client', depot.v4, 9090), within).toBe('hi');
    expect(await outcome('client', depot.v6)).toBe('hi');
    expect(await outcome('client', depot.v4)).toBe('EACCES');
    expect(await connectionWhere(lab, 'a', ({ reason }) => reason === 'excluded_outbound')).toMatchObject({
      path: 'untouched',
      pod: 't/client',
    });
    expect(await notesOf('a', 't/client')).toContainEqual(expect.stringContaining('port 9090'));
    expect((await explained('t/client', `${depot.v4}:9090`)).outbound[0]).toContain(sidecar);
    write();
    await expect.poll(() => outcome('client', depot.v4), within).toBe('hi');
    await expect.poll(() => notesOf('a', 't/client'), within).toBeUndefined();
  });

  it('that comes in clear reaches an excluded port past the strictest policy, and no other', async () => {
    const { v4, v6 } = lab.pod('server');
    write({ objects: [strict] });
    await expect.poll(() => outcome('stranger', v4, 9090), within).not.toBe('hi');
    write({ objects: [strict], server: { [`${sidecar}excludeInboundPorts`]: '9090' } });
    await expect.poll(() => outcome('stranger', v4, 9090), within).toBe('hi');
    expect(await outcome('stranger', v6, 9090)).toBe('hi');
    expect(await outcome('stranger', v4, 8080)).not.toBe('hi');
    expect(await outcome('client', v4, 9090)).toBe('hi');
    await connectionWhere(lab, 'b', ({ reason }) => reason === 'excluded_inbound');
    expect(await notesOf('b', 't/server')).toEqual([expect.stringContaining('port 9090')]);
    write({ objects: [strict] });
    await expect.poll(() => outcome('stranger', v4, 9090), within).not.toBe('hi');
  });
});
