import { pino } from 'pino';
import { HadalError } from './errors.ts';
import { textStream } from './log-text.ts';

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

/** Logs as `log.info({ pod }, 'enrolled')`; fields first, a sentence last. */
export type Logger = pino.Logger;

export interface LogOptions {
  /** Level of every scope that has none of its own. Default `info`. */
  readonly level?: LogLevel;
  /** One JSON object a line, or text for people. Default: text when the destination is a terminal. */
  readonly format?: 'json' | 'text';
  /** Where to; default standard error. */
  readonly destination?: NodeJS.WritableStream;
  /** Fields on every line, e.g. `{ node: 'node-1' }`. */
  readonly fields?: Readonly<Record<string, unknown>>;
}

/** Private keys and tokens never reach a log, whoever logs them. */
const redacted = ['privateKey', 'token', '*.privateKey', '*.token', 'authorization', '*.authorization'];

/**
 * All loggers of a process. A scope is a part of the program (`tunnel`, `enrolment`); its level can change at any time and
 * holds at once for everybody who has that scope's logger.
 */
export class LogRoot {
  readonly #root: pino.Logger;
  readonly #scopes = new Map<string, { readonly logger: pino.Logger; ownLevel: LogLevel | undefined }>();

  constructor(options: LogOptions = {}) {
    const { level = 'info', destination = process.stderr, fields = {} } = options;
    const format = options.format ?? ((destination as { isTTY?: boolean }).isTTY === true ? 'text' : 'json');
    this.#root = pino(
      {
        level,
        base: { ...fields },
        timestamp: pino.stdTimeFunctions.isoTime,
        formatters: { level: (label) => ({ level: label }) },
        serializers: { err: serializeError, error: serializeError, cause: serializeError },
        redact: { paths: redacted, censor: '<redacted>' },
      },
      format === 'text' ? textStream(destination) : destination,
    );
  }

  scope(name: string): Logger {
    const known = this.#scopes.get(name);
    if (known !== undefined) return known.logger;
    const logger = this.#root.child({ scope: name });
    this.#scopes.set(name, { logger, ownLevel: undefined });
    return logger;
  }

  /** Sets the level of one scope, or of all that have none of their own. `undefined` gives a scope back to the general level. */
  setLevel(level: LogLevel | undefined, scope?: string): void {
    if (scope !== undefined) {
      this.scope(scope).level = level ?? this.#root.level;
      const entry = this.#scopes.get(scope);
      if (entry !== undefined) entry.ownLevel = level;
      return;
    }
    if (level === undefined) return;
    this.#root.level = level;
    for (const { logger, ownLevel } of this.#scopes.values()) logger.level = ownLevel ?? level;
  }

  /** The general level and that of each scope. */
  levels(): { readonly level: LogLevel; readonly scopes: Readonly<Record<string, LogLevel>> } {
    const scopes = [...this.#scopes].map(([name, { logger }]) => [name, logger.level as LogLevel] as const);
    return { level: this.#root.level as LogLevel, scopes: Object.fromEntries(scopes.sort()) };
  }
}

/** `debug` or `tunnel:debug,enrolment:trace,info`: what `--log-level` and `POST /logging` take. */
export function parseLogLevels(text: string): { readonly level: LogLevel; readonly scope?: string }[] {
  return text.split(',').map((part) => {
    const [first = '', second] = part.trim().split(':', 2);
    const level = second ?? first;
    if (!isLogLevel(level)) {
      throw new HadalError('ERR_LOG_LEVEL', `log level "${level}" is not one of ${logLevels.join(', ')}`);
    }
    return second === undefined ? { level } : { level, scope: first };
  });
}

function isLogLevel(text: string): text is LogLevel {
  return (logLevels as readonly string[]).includes(text);
}

function serializeError(caught: unknown): unknown {
  return caught instanceof Error ? { ...HadalError.from(caught).toJSON(), stack: caught.stack } : caught;
}

/** A logger that says nothing, for tests and libraries without one. */
export const silentLogger: Logger = pino({ level: 'silent' });
