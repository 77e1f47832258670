import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { JoinKeys } from '../../../src/identity/join-keys.ts';
import { verifyJoinToken } from '../../../src/identity/join-token.ts';
import { temporaryDirectory } from '../identity/openssl.ts';
import { hadal, now } from './terminal.ts';

const token = (directory: string, ...args: string[]) =>
  hadal(['control-plane', 'token', ...args], { environment: { HADAL_DATA_DIR: directory } });
const day = 86_400_000;

it('a token that was made is printed alone, and the control plane of that directory knows it', async () => {
  const directory = temporaryDirectory();
  const { out, err, status } = await token(directory, '--node', 'node-1', '--lifetime', '30d');
  expect(status).toBe(0);
  const keys = new JoinKeys(join(directory, 'join-keys'));
  const known = await verifyJoinToken(out.trim(), (id) => keys.find(id), now);
  expect(known).toMatchObject({ node: 'node-1', expiresAt: now + 30 * day });
  expect(err).toBe(`token ${known.id} for node node-1, valid until 2030-01-31T12:00:00.000Z\n`);
});

it('a token for a file is in it alone, which nobody else may read, and an old file is not overwritten', async () => {
  const directory = temporaryDirectory();
  const file = join(directory, 'token');
  const { out, status } = await token(directory, '--node', 'node-1', '--file', file);
  expect([out, status]).toEqual(['', 0]);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const before = readFileSync(file, 'utf8');
  const again = await token(directory, '--node', 'node-1', '--file', file);
  expect(again.err).toMatch(/writing the token to .*EEXIST.* \(ERR_IDENTITY_TOKEN_FILE\)/);
  expect([again.out, again.status, readFileSync(file, 'utf8')]).toEqual(['', 1, before]);
  // Nobody has the token that could not be written, so nobody shall be able to show it.
  expect(await new JoinKeys(join(directory, 'join-keys')).list()).toHaveLength(1);
});

it('tokens are listed without what makes them, and revoked by their id', async () => {
  const directory = temporaryDirectory();
  expect((await token(directory, '--list')).out).toBe('no tokens\n');
  const made = await token(directory, '--node', 'node-1');
  const id = /token (\w+)/.exec(made.err)?.[1] ?? '';
  await token(directory, '--node', 'node-2', '--lifetime', '1d');
  const { out } = await token(directory, '--list');
  expect(out).toMatch(/^ID +NODE +EXPIRES\n\w{24} +node-2 +in 1d00h\n\w{24} +node-1 +in 90d00h/);
  for (const part of made.out.trim().split('.')) expect(out).not.toContain(part);
  expect((await token(directory, '--revoke', id)).status).toBe(0);
  const keys = new JoinKeys(join(directory, 'join-keys'));
  await expect(verifyJoinToken(made.out.trim(), (kid) => keys.find(kid), now)).rejects.toThrow(/revoked/);
  const again = await token(directory, '--revoke', id);
  expect([again.status, again.err]).toEqual([1, expect.stringContaining(`knows no token ${id}`)]);
});

it.each([
  [[], /give one of --node, --list and --revoke/],
  [['--node', 'a', '--list'], /give one of/],
  [['--node', 'Not A Name'], /expected a name as Kubernetes gives nodes/],
  [['--node', 'a', '--lifetime', 'forever'], /expected a duration/],
])('%j is not understood', async (args, message) => {
  const directory = temporaryDirectory();
  writeFileSync(join(directory, 'untouched'), '');
  const { out, err, status } = await token(directory, ...args);
  expect([out, status]).toEqual(['', 2]);
  expect(err).toMatch(message);
});
