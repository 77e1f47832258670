import { constants } from 'node:os';

/** Codes are part of the interface: operators search for them, `-o json` prints them. Never reuse one for another meaning. */
export type ErrorCode = `ERR_${string}`;

export interface HadalErrorOptions {
  readonly cause?: unknown;
  /** Name of the errno behind the failure, e.g. `ENOENT`. */
  readonly systemCode?: string;
  /** Facts for `-o json` and logs: the file, the address, the verifier's log. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/** Every error that Hadal throws. The message names the thing, the value and the next step. */
export class HadalError<Code extends ErrorCode = ErrorCode> extends Error {
  override readonly name = 'HadalError';
  readonly code: Code;
  readonly systemCode: string | undefined;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: Code, message: string, options: HadalErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.systemCode =
      options.systemCode ?? (isHadalError(options.cause) ? options.cause.systemCode : undefined);
    this.details = options.details ?? {};
  }

  /**
   * Makes a HadalError of anything that was caught; nothing else in Hadal looks at errno.
   *
   * `doing` says what failed ("reading /etc/hadal.yaml") and becomes the head of the message. Without it a HadalError passes
   * unchanged. `code` is for what carries no code of ours; an `ERR_...` code of the native addon is kept.
   */
  static from(caught: unknown, code: ErrorCode = 'ERR_INTERNAL', doing?: string): HadalError {
    if (isHadalError(caught)) {
      if (doing === undefined) return caught;
      return new HadalError(caught.code, `${doing}: ${caught.message}`, {
        cause: caught,
        details: caught.details,
      });
    }
    const facts = factsOf(caught);
    const hint = facts.systemCode === undefined ? undefined : nextSteps[facts.systemCode];
    const head = doing === undefined ? '' : `${doing}: `;
    const tail = hint === undefined ? '' : `; ${hint}`;
    return new HadalError(facts.ownCode ?? code, `${head}${facts.message}${tail}`, {
      cause: caught,
      ...(facts.systemCode === undefined ? {} : { systemCode: facts.systemCode }),
      details: facts.details,
    });
  }

  /** What `-o json` and logs show: the error and its causes, without stacks. */
  toJSON(): Record<string, unknown> {
    const { code, message, systemCode, details, cause } = this;
    return {
      code,
      message,
      ...(systemCode === undefined ? {} : { systemCode }),
      ...(Object.keys(details).length === 0 ? {} : { details }),
      ...(cause === undefined ? {} : { cause: isHadalError(cause) ? cause.toJSON() : String(cause) }),
    };
  }
}

export function isHadalError(value: unknown): value is HadalError {
  return value instanceof HadalError;
}

/** For the `default` of a switch over a union: does not compile while a member is missing. */
export function unreachable(value: never, what: string): never {
  throw new HadalError('ERR_INTERNAL', `${what} ${JSON.stringify(value)} is not handled; please report this`);
}

interface Facts {
  readonly message: string;
  readonly ownCode: ErrorCode | undefined;
  readonly systemCode: string | undefined;
  readonly details: Record<string, unknown>;
}

/** What operators can do about the errors that the system reports most. */
const nextSteps: Readonly<Record<string, string>> = {
  EACCES: 'run as root, or check the permissions',
  EPERM: 'run as root, or grant the capability that `hadal check` names',
  EADDRINUSE: 'another process has this port; `ss -ltnp` names it',
  EADDRNOTAVAIL: 'the address is not on any interface of this network namespace',
  ECONNREFUSED: 'is the other side running?',
  ETIMEDOUT: 'is a firewall or NetworkPolicy in between?',
  EHOSTUNREACH: 'is there a route to this host?',
  ENETUNREACH: 'is there a route to this network?',
  EMFILE: 'raise the limit of open files (ulimit -n)',
  ENFILE: 'the machine is out of file descriptors; raise fs.file-max',
  ENOMEM: 'the machine, or the cgroup, is out of memory',
  ENOSPC: 'the disk is full, or a kernel table is',
  EROFS: 'the file system is mounted read-only',
};

function factsOf(caught: unknown): Facts {
  if (!(caught instanceof Error)) {
    return { message: String(caught), ownCode: undefined, systemCode: undefined, details: {} };
  }
  const { code, errno, syscall, path, address, port, verifierLog } = caught as Error &
    Record<string, unknown>;
  const details = Object.fromEntries(
    Object.entries({ errno, syscall, path, address, port, verifierLog }).filter(
      ([, value]) => value !== undefined,
    ),
  );
  return {
    message: caught.message,
    ownCode: isOwnCode(code) ? code : undefined,
    systemCode: systemCodeOf(code, errno),
    details,
  };
}

/** The addon's codes are ours. Node has codes of the same form (`ERR_INVALID_ARG_TYPE`), which are not. */
function isOwnCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && /^ERR_(BPF|HANDLE|NET|NETNS|TUNNEL|NATIVE)(_|$)/.test(code);
}

function systemCodeOf(code: unknown, errno: unknown): string | undefined {
  if (typeof code === 'string' && /^E[A-Z0-9]+$/.test(code)) return code;
  return typeof errno === 'number' ? errnoNames().get(Math.abs(errno)) : undefined;
}

let namesByErrno: Map<number, string> | undefined;

function errnoNames(): Map<number, string> {
  namesByErrno ??= new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]));
  return namesByErrno;
}
