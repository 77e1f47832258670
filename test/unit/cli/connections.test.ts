import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, it } from 'vitest';
import { reasons } from '../../../src/model/reasons.gen.ts';
import { packFlows } from '../telemetry/flow-records.ts';
import { hadal, startTestAgent } from './terminal.ts';

const at = (text: string) => Date.parse(`2030-01-01T${text}Z`) * 1000;

const mixed = packFlows(
  { flowId: '1', openedUnixMicroseconds: at('11:59:01.000') },
  {
    flowId: '2',
    openedUnixMicroseconds: at('11:59:02.000'),
    kind: 'refused',
    reason: reasons.POLICY_NOT_ALLOWED,
    bytesSent: 0,
    bytesReceived: 0,
    rttMicroseconds: 0,
    retransmits: 0,
    durationMicroseconds: 400,
  },
  {
    flowId: '3',
    openedUnixMicroseconds: at('11:59:03.000'),
    edge: 0,
    podIndex: 2,
    direction: 'inbound',
    path: 'plaintext',
    sourceAddress: 'fd00:64::99',
    destinationAddress: 'fd00:64::2',
    endpointAddress: '',
    bytesSent: 999,
    bytesReceived: 1_000,
    durationMicroseconds: 3_723_000_000,
  },
  {
    flowId: '4',
    openedUnixMicroseconds: at('11:59:04.000'),
    path: 'untouched',
    reason: reasons.OUTSIDE_MESH,
    durationMicroseconds: 61_000_000,
  },
);

it.each(['table', 'wide', 'json'])('connections -o %s are as it was agreed', async (format) => {
  const agent = await startTestAgent({
    readLive: async () =>
      packFlows({ flowId: 'f', kind: 'live', openedUnixMicroseconds: at('11:59:30.500') }),
  });
  agent.flows.append(mixed);
  const { out, err, status } = await agent.run(['connections', '-o', format]);
  await expect(out).toMatchFileSnapshot(`golden/connections-${format}.txt`);
  expect([err, status]).toEqual(['', 0]);
});

it('JSON holds the bytes exactly', async () => {
  const agent = await startTestAgent();
  agent.flows.append(packFlows({ bytesSent: 10_000_007, bytesReceived: Number.MAX_SAFE_INTEGER }));
  const { out } = await agent.run(['connections', '-o', 'json']);
  expect(JSON.parse(out).connections[0]).toMatchObject({
    node: 'node-1',
    bytesSent: 10_000_007,
    bytesReceived: 9_007_199_254_740_991,
  });
});

it('shows those asked for, and says when there are none', async () => {
  const agent = await startTestAgent();
  agent.flows.append(mixed);
  const ids = async (...args: string[]) =>
    JSON.parse((await agent.run(['connections', '-o', 'json', ...args])).out).connections.map(
      ({ id }: { id: string }) => id,
    );
  expect(await ids('--state', 'refused')).toEqual(['tunnel-2']);
  expect(await ids('--pod', 'shop/front', '--limit', '2')).toEqual(['tunnel-4', 'tunnel-2']);
  expect((await agent.run(['connections', '--state', 'live'])).out).toBe('no connections\n');
});

it('a number that is none is refused by the agent, in words', async () => {
  const agent = await startTestAgent();
  const { err, status } = await agent.run(['connections', '--limit', 'many']);
  expect(err).toContain('limit="many" is not a whole number from 0 to 1000000');
  expect(status).toBe(1);
});

it('a table has the newest 50, JSON has all', async () => {
  const agent = await startTestAgent();
  agent.flows.append(packFlows(...Array.from({ length: 80 }, (_, n) => ({ flowId: (n + 1).toString(16) }))));
  expect((await agent.run(['connections'])).out.trimEnd().split('\n')).toHaveLength(51);
  expect(JSON.parse((await agent.run(['connections', '-o', 'json'])).out).connections).toHaveLength(80);
});

it('text that came over the wire cannot move the cursor of the terminal', async () => {
  const agent = await startTestAgent();
  agent.flows.append(packFlows({ edge: 2 }));
  const { out } = await agent.run(['connections', '-o', 'wide']);
  expect(out).toContain('shop/a?[2J?1m?b');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  expect(out).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f]/);
});

it('--follow tells a live connection once, every ended one once, and ends with 0 when interrupted', async () => {
  const live = [packFlows({ flowId: 'a', kind: 'live' })];
  const agent = await startTestAgent({ readLive: async () => live[0] ?? new Uint8Array() });
  const interrupted = new AbortController();
  const lines: { id: string; state: string }[] = [];
  const run = agent.run(['connections', '--follow', '-o', 'json'], {
    interrupted: interrupted.signal,
    onOut: (text) => lines.push(JSON.parse(text)),
  });
  await expect.poll(() => lines.length, { timeout: 5_000 }).toBe(1);
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  live.length = 0;
  agent.flows.append(packFlows({ flowId: 'a' }, { flowId: 'b', kind: 'refused' }));
  await expect.poll(() => lines.length, { timeout: 5_000 }).toBe(3);
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  interrupted.abort();
  expect((await run).status).toBe(0);
  expect(lines.map(({ id, state }) => `${id} ${state}`)).toEqual([
    'tunnel-a live',
    'tunnel-a closed',
    'tunnel-b refused',
  ]);
});

it('an agent is also found by the URL of its admin server', async () => {
  const agent = await startTestAgent();
  agent.flows.append(packFlows({}));
  const { out } = await hadal(['connections', '--admin', `unix:${agent.socketPath}`]);
  expect(out).toContain('shop/front 10.64.1.2:40001');
});

it('the program itself ends with 0 on Ctrl-C while it follows', async () => {
  const agent = await startTestAgent();
  agent.flows.append(packFlows({}));
  const args = [
    'src/cli/main.ts',
    'connections',
    '--follow',
    '-o',
    'json',
    '--admin',
    `unix:${agent.socketPath}`,
  ];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  await once(child.stdout, 'data');
  child.kill('SIGINT');
  expect(await ended).toEqual([0, null]);
});
