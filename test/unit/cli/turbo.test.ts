import { expect, it } from 'vitest';
import { describeTurbo } from '../../../src/cli/turbo.ts';
import type { TurboCounts } from '../../../src/kernel/turbo.ts';
import { hadal } from './terminal.ts';

const counts: TurboCounts = {
  joined: 8,
  refusedKind: 2,
  refusedRoom: 1,
  redirected: 71_234,
  tcpFirst: 8,
  tcpUnacked: 40,
  tcpUnread: 0,
  tcpQueue: 3,
  tcpSender: 0,
  tcpReader: 0,
  tcpMemory: 0,
  tcpGone: 0,
  tcpUnknown: 0,
  tcpEnded: 1,
};

it('tells how the switch stands, and of sends by TCP only those that there were', async () => {
  await expect(describeTurbo('on', counts)).toMatchFileSnapshot('golden/turbo-on.txt');
  expect(describeTurbo('killed', counts)).toMatch(/^turbo is off, by hand: hadal turbo on\n/);
  expect(describeTurbo('off', counts)).toMatch(/^turbo is off: no agent here allows it/);
});

it('says where it looked when no agent has run here', async ({ skip }) => {
  if (process.getuid?.() !== 0) skip('needs root: the BPF file system is read');
  const environment = { HADAL_INSTANCE: 'nobody-has-this-name' };
  const { err, status } = await hadal(['turbo', 'off'], { environment });
  expect(err).toMatch(/no agent of this version has run here as instance 'nobody-has-this-name'/);
  expect(status).toBe(1);
});
