import { isAbsolute, normalize } from 'node:path';
import { canonicalHostname, parseAuthority, parsePort } from '../model/authority.ts';
import { type Cidr, parseCidr } from '../model/cidr.ts';
import { isTrustDomain } from '../model/spiffe-id.ts';

/** Reads one option's text. Throws an `Error` that says what was expected, without the option's name. */
export type Parser<T> = (text: string) => T;

export const text: Parser<string> = (given) => given;

export const path: Parser<string> = (given) => {
  if (!isAbsolute(given)) {
    throw new Error('expected an absolute path');
  }
  return normalize(given).replace(/(?<=.)\/$/, '');
};

/** Empty where the agent is to find the path by itself. */
export const optionalPath: Parser<string> = (given) => (given === '' ? '' : path(given));

/** `host:port` of a server, `[fd00::1]:15012`; empty where there is none. Istio writes `https://` in front of some. */
export const optionalServer: Parser<string> = (given) => {
  if (given === '') return '';
  const server = given.replace(/^https:\/\//, '');
  if (parseAuthority(server) === undefined) {
    throw new Error(
      'expected host:port, such as hadal-control-plane.hadal-system.svc:15012 or [fd00::1]:15012',
    );
  }
  return server;
};

/** Below which names stand; lower case, without the dot at the end. */
export const domain: Parser<string> = (given) => {
  if (!/^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/.test(given)) {
    throw new Error('expected a domain in lower case, such as cluster.local');
  }
  return given;
};

export const namespacedName: Parser<string> = (given) => {
  if (!/^[a-z0-9]([-a-z0-9]*[a-z0-9])?\/[a-z0-9]([-.a-z0-9]*[a-z0-9])?$/.test(given)) {
    throw new Error('expected namespace/name, such as kube-system/kube-dns');
  }
  return given;
};

/** A path of a unix socket, which the kernel cuts at 108 bytes. */
export const socketPath: Parser<string> = (given) => {
  const parsed = path(given);
  if (Buffer.byteLength(parsed) > 107) {
    throw new Error('expected an absolute path of at most 107 bytes');
  }
  return parsed;
};

export const nodeName: Parser<string> = (given) => {
  if (canonicalHostname(given) !== given && !/^[a-z0-9]+$/.test(given)) {
    throw new Error('expected a name as Kubernetes gives nodes: lower-case letters, digits, dashes and dots');
  }
  return given;
};

export const instanceName: Parser<string> = (given) => {
  if (!/^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$/.test(given)) {
    throw new Error('expected up to 40 lower-case letters, digits and inner dashes');
  }
  return given;
};

export const trustDomain: Parser<string> = (given) => {
  if (!isTrustDomain(given)) {
    throw new Error(
      'expected a SPIFFE trust domain: lower-case letters, digits, dots, dashes and underscores',
    );
  }
  return given;
};

export const port: Parser<number> = (given) => {
  const parsed = parsePort(given);
  if (parsed === undefined) {
    throw new Error('expected a port, 1 to 65535');
  }
  return parsed;
};

/** `0.0.0.0:15012`, `[::]:15012`. */
export const listenAddress: Parser<{ readonly text: string; readonly port: number }> = (given) => {
  const parsed = parseAuthority(given);
  if (parsed === undefined) {
    throw new Error('expected an address and a port, such as 0.0.0.0:15012 or [::]:15012');
  }
  return Object.freeze({ text: given, port: parsed.port });
};

export const boolean: Parser<boolean> = (given) => {
  if (given !== 'true' && given !== 'false') {
    throw new Error('expected true or false');
  }
  return given === 'true';
};

export const cidr: Parser<Cidr> = (given) => {
  const parsed = parseCidr(given);
  if (parsed === undefined) {
    throw new Error('expected ranges such as 10.0.0.0/16 or fd00::/48');
  }
  return parsed;
};

export function integer(least: number, most: number): Parser<number> {
  return (given) => {
    const parsed = /^-?\d{1,15}$/.test(given) ? Number(given) : Number.NaN;
    return within(parsed, least, most, `expected a whole number from ${least} to ${most}`);
  };
}

export function oneOf<const T extends string>(...choices: readonly T[]): Parser<T> {
  return (given) => {
    const found = choices.find((choice) => choice === given);
    if (found === undefined) {
      throw new Error(`expected one of ${choices.join(', ')}`);
    }
    return found;
  };
}

/** Undefined for an empty text. */
export function optional<T>(parser: Parser<T>): Parser<T | undefined> {
  return (given) => (given === '' ? undefined : parser(given));
}

/** Comma separated; spaces around items and an empty list are fine. */
export function list<T>(item: Parser<T>): Parser<readonly T[]> {
  return (given) =>
    Object.freeze(given.trim() === '' ? [] : given.split(',').map((each) => item(each.trim())));
}

const millisecondsPer = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const bytesPer = { '': 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 } as const;
/** Whole days below the 2^31 ms that a timer can wait. */
const longestDelayMs = 24 * 86_400_000;

/** `500ms`, `20s`, `1m30s`; a bare 0 too, any other number without unit is refused. Milliseconds. */
export function duration(leastMs: number, mostMs: number = longestDelayMs): Parser<number> {
  return (given) => {
    const isDuration = /^(?:\d{1,10}(?:ms|s|m|h|d))+$/.test(given) || given === '0';
    const parts = [...given.matchAll(/(\d+)(ms|s|m|h|d)/g)];
    const total = parts.reduce(
      (sum, [, count, unit]) => sum + Number(count) * millisecondsPer[unit as keyof typeof millisecondsPer],
      0,
    );
    const range = `from ${formatDuration(leastMs)} to ${formatDuration(mostMs)}`;
    return within(
      isDuration ? total : Number.NaN,
      leastMs,
      mostMs,
      `expected a duration such as 500ms or 20s, ${range}`,
    );
  };
}

/** `4MiB`, `65536`. */
export function bytes(least: number, most: number): Parser<number> {
  return (given) => {
    const [, count, unit = ''] = /^(\d{1,12})(KiB|MiB|GiB)?$/.exec(given) ?? [];
    const parsed = count === undefined ? Number.NaN : Number(count) * bytesPer[unit as keyof typeof bytesPer];
    return within(
      parsed,
      least,
      most,
      `expected a size such as 64KiB or 4MiB, from ${least} to ${most} bytes`,
    );
  };
}

export function formatDuration(milliseconds: number): string {
  const unit = (['d', 'h', 'm', 's'] as const).find((each) => milliseconds % millisecondsPer[each] === 0);
  return milliseconds === 0 || unit === undefined
    ? `${milliseconds}ms`
    : `${milliseconds / millisecondsPer[unit]}${unit}`;
}

function within(parsed: number, least: number, most: number, expected: string): number {
  if (!(parsed >= least && parsed <= most)) {
    throw new Error(expected);
  }
  return parsed;
}
