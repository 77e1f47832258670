import { existsSync } from 'node:fs';
import { expect, it } from 'vitest';
import { describeRequirements } from '../../../src/cli/check.ts';
import type { Requirement } from '../../../src/kernel/requirements.ts';
import { hadal } from './terminal.ts';

const good: Requirement = {
  id: 'btf',
  need: 'types of the kernel (BTF)',
  since: '5.2',
  essential: true,
  ok: true,
  found: '/sys/kernel/btf/vmlinux',
  lost: 'nothing can be loaded',
  remedy: '',
};
const optional: Requirement = {
  ...good,
  id: 'load-tcp_destroy',
  need: 'connections are ended by bpf_sock_destroy',
  since: '6.5',
  essential: false,
  ok: false,
  found: 'the kernel refuses tcp_destroy\n0: R1=ctx() R10=fp0\nunknown func bpf_sock_destroy',
  lost: 'they are ended by the slower SOCK_DESTROY',
  remedy: '',
};
const missing: Requirement = {
  ...optional,
  id: 'netns',
  need: 'network namespaces',
  essential: true,
  found: 'EPERM',
  since: '',
  lost: 'no pod can be enrolled',
  remedy: 'run as root',
};

it('prints each requirement, and of what is missing the price and the remedy', async () => {
  await expect(describeRequirements([good, optional, missing], false)).toMatchFileSnapshot(
    'golden/check-missing.txt',
  );
  expect(describeRequirements([good], true)).toMatch(/\n\nan agent can run here\n$/);
  expect(describeRequirements([good, optional], true)).toMatch(
    /can run here, without 1 thing that it could use\n$/,
  );
});

it('tries the requirements of this machine', async ({ skip }) => {
  if (process.getuid?.() !== 0) skip('needs root: programs are loaded and namespaces made');
  if (!existsSync('build/Release/hadal.node')) skip('the addon is not built; npm run build');
  const { out, status } = await hadal(['check', '-o', 'json']);
  const { ok, requirements } = JSON.parse(out) as { ok: boolean; requirements: Requirement[] };
  expect(requirements.length).toBeGreaterThan(10);
  expect(new Set(requirements.map(({ id }) => id)).size).toBe(requirements.length);
  expect(status).toBe(ok ? 0 : 1);
}, 60_000);

it('mistakes in the environment are told before anything is tried', async () => {
  const { err, status } = await hadal(['check'], { environment: { HADAL_WORKERS: 'many' } });
  expect(err).toMatch(/HADAL_WORKERS="many"/);
  expect(status).toBe(1);
});
