import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createAuthenticate } from '../../../src/identity/authenticate.ts';
import { JoinKeys } from '../../../src/identity/join-keys.ts';
import {
  expiryOf,
  isJoinToken,
  type JoinKey,
  makeJoinToken,
  signJoinToken,
  verifyJoinToken,
} from '../../../src/identity/join-token.ts';
import { temporaryDirectory } from './openssl.ts';

const hour = 3_600_000;
const at = Date.UTC(2026, 0, 1);
const refused = { code: 'ERR_IDENTITY_UNAUTHENTICATED' };
const known =
  (...keys: JoinKey[]) =>
  async (id: string) =>
    keys.find((key) => key.id === id);
const nodeNames = fc.stringMatching(/^[a-z0-9](?:[a-z0-9.-]{0,60}[a-z0-9])?$/);
const asMetadata = (...values: (string | Buffer)[]) => ({
  get: (key: string) => (key === 'authorization' ? values : []),
});

describe('a join token', () => {
  it('names its node, whatever the name, until its last moment and not after', async () => {
    await fc.assert(
      fc.asyncProperty(
        nodeNames,
        fc.integer({ min: 1_000, max: 10_000 * hour }),
        async (node, lifetimeMs) => {
          const { token, key } = makeJoinToken(node, lifetimeMs, at);
          const end = key.expiresAt;
          expect(end).toBeLessThanOrEqual(at + lifetimeMs);
          expect(expiryOf(token)).toBe(end);
          expect(isJoinToken(token)).toBe(true);
          expect(await verifyJoinToken(token, known(key), end - 1)).toMatchObject({
            node,
            id: key.id,
            expiresAt: end,
          });
          await expect(verifyJoinToken(token, known(key), end)).rejects.toMatchObject(refused);
        },
      ),
      { numRuns: 100 },
    );
  });

  it('with any character changed, left out or added is refused', async () => {
    const { token, key } = makeJoinToken('a', hour, at);
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=';
    const change = fc.tuple(
      fc.nat(token.length - 1),
      fc.constantFrom(...alphabet),
      fc.constantFrom('replace', 'insert', 'remove'),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async (changes) => {
        const characters = [...token];
        for (const [index, character, how] of changes) {
          characters.splice(index, how === 'insert' ? 0 : 1, ...(how === 'remove' ? [] : [character]));
        }
        const changed = characters.join('');
        fc.pre(changed !== token);
        await expect(verifyJoinToken(changed, known(key), at)).rejects.toMatchObject(refused);
      }),
      { numRuns: 2_000 },
    );
  });

  it('is refused in each other spelling of the same signature', async () => {
    const { token, key } = makeJoinToken('a', hour, at);
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    // 64 bytes are 85 characters and 2 bits: 16 last characters stand for the same bytes.
    for (const last of alphabet) {
      const spelled = token.slice(0, -1) + last;
      if (spelled !== token)
        await expect(verifyJoinToken(spelled, known(key), at)).rejects.toMatchObject(refused);
    }
  });

  it('is refused when it is anything else', async () => {
    const { key } = makeJoinToken('a', hour, at);
    await fc.assert(
      fc.asyncProperty(fc.string({ maxLength: 300 }), async (text) => {
        expect(isJoinToken(text)).toBe(false);
        await expect(verifyJoinToken(text, known(key), at)).rejects.toMatchObject(refused);
      }),
      { numRuns: 1_000 },
    );
  });

  const id = '0123456789abcdef01234567';
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const key: JoinKey = { id, node: 'a', publicKey, expiresAt: at + 2 * hour };
  const header = { alg: 'EdDSA', typ: 'hadal-join+jwt', kid: id };
  const seconds = at / 1000;
  const claims = { sub: 'a', aud: 'hadal-control-plane', jti: id, iat: seconds, exp: seconds + 3_600 };

  it('may be signed by hand', async () => {
    expect(await verifyJoinToken(signJoinToken(header, claims, privateKey), known(key), at)).toMatchObject({
      node: 'a',
    });
  });

  it.each([
    ['names another node than its key', header, { ...claims, sub: 'b' }],
    ['names no node', header, { ...claims, sub: undefined }],
    ['is for somebody else', header, { ...claims, aud: 'istio-ca' }],
    ['has no end', header, { ...claims, exp: undefined }],
    ['has an end that is no number', header, { ...claims, exp: 'never' }],
    ['has an end beyond all time', header, { ...claims, exp: 1e300, iat: 1e300 }],
    ['begins tomorrow', header, { ...claims, iat: seconds + 86_400, exp: seconds + 90_000 }],
    ['is of another id than its key', header, { ...claims, jti: 'f'.repeat(24) }],
    ['claims another algorithm', { ...header, alg: 'none' }, claims],
    ['claims a symmetric algorithm', { ...header, alg: 'HS256' }, claims],
    ['brings a key along', { ...header, jwk: {} }, claims],
    ['names a key that was removed', { ...header, kid: 'e'.repeat(24) }, claims],
  ])('that %s is refused', async (_, head, body) => {
    await expect(
      verifyJoinToken(signJoinToken(head, body, privateKey), known(key), at),
    ).rejects.toMatchObject(refused);
  });

  it('without signature, or with that of another key, is refused', async () => {
    const other = generateKeyPairSync('ed25519').privateKey;
    const token = signJoinToken(header, claims, other);
    await expect(verifyJoinToken(token, known(key), at)).rejects.toThrow(/signature of join token/);
    const unsigned = token.split('.').slice(0, 2).join('.');
    await expect(verifyJoinToken(`${unsigned}.`, known(key), at)).rejects.toMatchObject(refused);
    await expect(verifyJoinToken(unsigned, known(key), at)).rejects.toMatchObject(refused);
  });

  it('ends with its key, whatever it says itself', async () => {
    const long = signJoinToken(header, { ...claims, exp: seconds + 100 * 3_600 }, privateKey);
    expect(await verifyJoinToken(long, known(key), at + hour)).toMatchObject({ expiresAt: key.expiresAt });
    await expect(verifyJoinToken(long, known(key), key.expiresAt)).rejects.toThrow(/expired/);
  });
});

describe('the list of join keys', () => {
  it('holds nothing that makes a token, readable for its owner alone', async () => {
    const keys = new JoinKeys(join(temporaryDirectory(), 'keys'));
    const { token, key } = makeJoinToken('a', hour);
    await keys.add(key);
    const [name = ''] = readdirSync(keys.directory);
    const text = readFileSync(join(keys.directory, name), 'utf8');
    expect(text).not.toMatch(/PRIVATE/);
    for (const part of token.split('.')) expect(text).not.toContain(part);
    expect(statSync(join(keys.directory, name)).mode & 0o777).toBe(0o600);
    expect(statSync(keys.directory).mode & 0o777).toBe(0o700);
  });

  it('ends a token at once when its file is removed', async () => {
    const keys = new JoinKeys(join(temporaryDirectory(), 'keys'));
    const authenticate = createAuthenticate({ joinKeys: keys });
    const [first, second] = [makeJoinToken('a', hour), makeJoinToken('b', hour)];
    await keys.add(first.key);
    await keys.add(second.key);
    const ask = (token: string) =>
      authenticate(asMetadata(`Bearer ${token}`), AbortSignal.timeout(1_000), '10.0.0.1:4711');
    expect(await ask(first.token)).toMatchObject({ node: 'a', isAgent: true });
    unlinkSync(join(keys.directory, `${first.key.id}.json`));
    await expect(ask(first.token)).rejects.toThrow(/revoked/);
    expect(await ask(second.token)).toMatchObject({ node: 'b' });
    expect(await keys.remove(second.key.id)).toBe(true);
    await expect(ask(second.token)).rejects.toMatchObject(refused);
    expect(await keys.remove(second.key.id)).toBe(false);
  });

  it('never reads a file outside its directory, whatever a token names', async () => {
    const root = temporaryDirectory();
    const keys = new JoinKeys(join(root, 'keys'));
    const { key } = makeJoinToken('a', hour);
    await keys.add(key);
    mkdirSync(join(root, 'other'));
    writeFileSync(
      join(root, 'other', `${key.id}.json`),
      readFileSync(join(keys.directory, `${key.id}.json`)),
    );
    for (const id of [
      `../other/${key.id}`,
      `${root}/other/${key.id}`,
      '',
      '.',
      key.id.toUpperCase(),
      `${key.id}\0`,
    ]) {
      expect(await keys.find(id)).toBeUndefined();
    }
  });

  it('drops those that have ended', async () => {
    const keys = new JoinKeys(join(temporaryDirectory(), 'keys'));
    const [old, fresh] = [makeJoinToken('a', hour, at), makeJoinToken('a', hour, at + hour)];
    await keys.add(old.key);
    await keys.add(fresh.key);
    expect(await keys.removeExpired(at + hour)).toBe(1);
    expect((await keys.list()).map(({ id }) => id)).toEqual([fresh.key.id]);
  });

  it('without directory is empty', async () => {
    expect(await new JoinKeys(join(temporaryDirectory(), 'none')).list()).toEqual([]);
  });
});

describe('the authorization of a call', () => {
  const authenticate = createAuthenticate({ joinKeys: { find: async () => undefined } });
  const { token } = makeJoinToken('a', hour);

  it.each([
    ['is missing', [], /no authorization/],
    ['comes twice', [`Bearer ${token}`, `Bearer ${token}`], /more than one/],
    ['is of another scheme', [`Basic ${token}`], /no bearer token/],
    ['is empty', ['Bearer '], /no bearer token/],
    ['is binary', [Buffer.from(`Bearer ${token}`)], /no bearer token/],
    ['is longer than any token', [`Bearer ${'a'.repeat(20_000)}`], /has 20007 bytes/],
    ['holds two tokens', [`Bearer ${token} ${token}`], /no bearer token/],
    [
      'is for Kubernetes, which is not asked here',
      ['Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln'],
      /others are not accepted here/,
    ],
  ])('that %s is refused, and nothing of it is in the message', async (_, values, why) => {
    const failed = await authenticate(
      asMetadata(...values),
      AbortSignal.timeout(1_000),
      '10.0.0.1:4711',
    ).catch((error: unknown) => error);
    expect(failed).toMatchObject({ ...refused, message: expect.stringMatching(why) });
    expect(JSON.stringify(failed)).not.toContain(token.slice(0, 20));
  });
});
