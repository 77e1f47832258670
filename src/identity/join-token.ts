/**
 * Join tokens: what an agent shows a control plane that has no Kubernetes to ask. Each names one node and ends some day. A
 * compact JWS, signed with an Ed25519 key that is made for this token and thrown away; the control plane keeps the public half
 * alone, so nothing it has on disk makes a token, and a token ends when that half is removed.
 */
import { generateKeyPairSync, type KeyObject, randomBytes, sign, verify } from 'node:crypto';
import { unauthenticated } from './caller.ts';
import { parseObject } from './signing-wire.ts';

const type = 'hadal-join+jwt';
const audience = 'hadal-control-plane';
/** For control planes whose clock is behind that of the machine where the token was made. */
const clockSkewMs = 120_000;
const maxLength = 4096;

export interface JoinToken {
  /** Names the key that it is signed with. */
  readonly id: string;
  readonly node: string;
  readonly issuedAt: number;
  readonly expiresAt: number;
}

/** The public half, as the control plane keeps it. */
export interface JoinKey {
  readonly id: string;
  /** Tokens of this key name this node and no other. */
  readonly node: string;
  readonly publicKey: KeyObject;
  readonly expiresAt: number;
}

export interface MadeToken {
  /** Secret. */
  readonly token: string;
  readonly key: JoinKey;
}

export function makeJoinToken(node: string, lifetimeMs: number, now = Date.now()): MadeToken {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const id = randomBytes(12).toString('hex');
  const issuedAt = seconds(now);
  const expiresAt = issuedAt + Math.max(1, Math.floor(lifetimeMs / 1000));
  const claims = { sub: node, aud: audience, jti: id, iat: issuedAt, exp: expiresAt };
  const key = { id, node, publicKey, expiresAt: expiresAt * 1000 };
  return { token: signJoinToken({ alg: 'EdDSA', typ: type, kid: id }, claims, privateKey), key };
}

/** For tests too, which sign what nobody should. */
export function signJoinToken(header: object, claims: object, key: KeyObject): string {
  const signed = `${base64url(JSON.stringify(header))}.${base64url(JSON.stringify(claims))}`;
  return `${signed}.${sign(null, Buffer.from(signed), key).toString('base64url')}`;
}

/** Whether it is one of ours, valid or not: the other kind of token is Kubernetes'. */
export function isJoinToken(token: string): boolean {
  return token.length <= maxLength && parsePart(token.split('.', 1)[0] ?? '')?.typ === type;
}

/** When any JWT ends, without a look at its signature: for the message of whoever sends it. */
export function expiryOf(token: string): number | undefined {
  const exp = parsePart(token.split('.')[1] ?? '')?.exp;
  return typeof exp === 'number' && Number.isFinite(exp) ? exp * 1000 : undefined;
}

/**
 * Throws ERR_IDENTITY_UNAUTHENTICATED unless the token is signed with the key that it names and is valid at `now`. Nothing in it
 * is believed before its signature is checked, and that check is public-key: there is no secret here whose comparison could take
 * longer the more of it was right.
 */
export async function verifyJoinToken(
  token: string,
  findKey: (id: string) => Promise<JoinKey | undefined>,
  now = Date.now(),
): Promise<JoinToken> {
  const [head = '', body = '', signature = '', ...rest] = token.length > maxLength ? [] : token.split('.');
  const header = parsePart(head);
  if (header === undefined || signature === '' || rest.length > 0)
    throw unauthenticated('it is no join token');
  const { alg, typ, kid, ...others } = header;
  if (alg !== 'EdDSA' || typ !== type || typeof kid !== 'string' || Object.keys(others).length > 0) {
    throw unauthenticated('it is no join token of this version');
  }
  const key = await findKey(kid);
  if (key === undefined || key.id !== kid)
    throw unauthenticated(`no join token ${shown(kid)} is known, or it was revoked`);
  const bytes = Buffer.from(signature, 'base64url');
  // Base64 has several spellings of the same bytes; one token shall have one.
  const canonical = bytes.toString('base64url') === signature;
  const valid = verify(null, Buffer.from(`${head}.${body}`), key.publicKey, bytes);
  if (!canonical || !valid) throw unauthenticated(`the signature of join token ${kid} is wrong`);
  return checkClaims(parsePart(body), key, now);
}

function checkClaims(claims: Record<string, unknown> | undefined, key: JoinKey, now: number): JoinToken {
  const { sub, aud, jti, iat, exp } = claims ?? {};
  const wrong = (why: string) => unauthenticated(`join token ${key.id}: ${why}`);
  if (typeof sub !== 'string' || jti !== key.id || typeof iat !== 'number' || typeof exp !== 'number') {
    throw wrong('its claims are not complete');
  }
  if (aud !== audience) throw wrong('it is for somebody else');
  if (sub !== key.node) throw wrong(`it names node ${shown(sub)}, its key is for node ${key.node}`);
  const expiresAt = Math.min(exp * 1000, key.expiresAt);
  if (!(now < expiresAt)) throw wrong(`it expired at ${isoTime(expiresAt)}`);
  if (!(iat * 1000 <= now + clockSkewMs))
    throw wrong(`it is not valid before ${isoTime(iat * 1000)}; is the clock right?`);
  return Object.freeze({ id: key.id, node: sub, issuedAt: iat * 1000, expiresAt });
}

function parsePart(part: string): Record<string, unknown> | undefined {
  return /^[A-Za-z0-9_-]+$/.test(part)
    ? parseObject(Buffer.from(part, 'base64url').toString('utf8'))
    : undefined;
}

function base64url(text: string): string {
  return Buffer.from(text).toString('base64url');
}

function isoTime(ms: number): string {
  return Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : String(ms);
}

/** What strangers send is cut before it is logged. */
function shown(text: string): string {
  return JSON.stringify(text.slice(0, 80));
}

function seconds(ms: number): number {
  return Math.floor(ms / 1000);
}
