/** Request and answer of the signing socket: the fields of Istio's CreateCertificate as JSON. Checked by hand: zod costs an agent 15 MB. */
import { HadalError } from '../base/errors.ts';

export const signingPath = '/v1/certificates';

export interface WireRequest {
  /** PEM. */
  readonly csr: string;
  /** Seconds; 0 leaves it to the authority. */
  readonly validityDuration: number;
  /** SPIFFE id. */
  readonly impersonatedIdentity: string;
}

export interface WireAnswer {
  /** Leaf first, one intermediate per entry, the bundle of roots last. */
  readonly certChain: readonly string[];
}

/** Throws ERR_IDENTITY_REQUEST that names the field. */
export function parseWireRequest(text: string): WireRequest {
  const fields = parseObject(text);
  if (fields === undefined) throw wrong('it is not a JSON object');
  const { csr, validityDuration = 0, impersonatedIdentity, ...others } = fields;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) throw wrong(`${JSON.stringify(unknown)} is no field of it`);
  if (typeof csr !== 'string' || csr === '') throw wrong('csr must be a PEM text');
  if (typeof impersonatedIdentity !== 'string' || impersonatedIdentity === '') {
    throw wrong('impersonatedIdentity must be a SPIFFE id');
  }
  if (
    typeof validityDuration !== 'number' ||
    !Number.isSafeInteger(validityDuration) ||
    validityDuration < 0
  ) {
    throw wrong('validityDuration must be a whole number of seconds');
  }
  return { csr, validityDuration, impersonatedIdentity };
}

/** Undefined for anything that is no answer. */
export function parseWireAnswer(text: string): WireAnswer | undefined {
  const certChain = parseObject(text)?.certChain;
  if (!Array.isArray(certChain) || certChain.length < 2) return undefined;
  const texts = certChain.filter((part): part is string => typeof part === 'string' && part !== '');
  return texts.length === certChain.length ? { certChain: texts } : undefined;
}

/** A JSON object, or undefined. */
export function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

function wrong(why: string): HadalError<'ERR_IDENTITY_REQUEST'> {
  return new HadalError('ERR_IDENTITY_REQUEST', `the signing request is wrong: ${why}`);
}
