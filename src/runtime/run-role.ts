/** How a role of the program (`hadal agent`, `hadal control-plane`) lives: started, until it is asked to end, then drained. */
import { HadalError } from '../base/errors.ts';
import { Lifecycle } from '../base/lifecycle.ts';
import { LogRoot } from '../base/logger.ts';
import type { logOptions } from '../config/log-options.ts';
import type { OptionTable, Values } from '../config/option.ts';
import { type Configuration, chosenOptions } from '../config/read-options.ts';
import { Readiness } from './readiness.ts';
import { stopSignals } from './stop-signals.ts';
import { packageVersion } from './version.ts';

/** What every part of a role is started with. */
export interface RoleScope<Table extends OptionTable> {
  readonly config: Values<Table>;
  readonly sources: Configuration<Table>['sources'];
  readonly version: string;
  readonly logs: LogRoot;
  readonly lifecycle: Lifecycle;
  readonly readiness: Readiness;
}

/** Options that every role has. */
interface RoleConfig extends Values<typeof logOptions> {
  readonly drainDeadlineMs: number;
}

export interface Role<Table extends OptionTable> {
  /** As the command names it: `agent`, `control-plane`. */
  readonly name: string;
  /** As a sentence begins: `the agent`. */
  readonly title: string;
  readonly configuration: Configuration<Table>;
  /** Fields of every line of the log. */
  readonly logFields?: Readonly<Record<string, unknown>>;
  /** Starts everything, owned by the scope's lifecycle; `quit` asks for the end as a signal does. */
  readonly start: (scope: RoleScope<Table>, quit: () => void) => Promise<void>;
  /** Code of a failed start that has none of its own. */
  readonly failure: `ERR_${string}`;
}

/** For the parts that end after those that the drain deadline is meant for. */
const endingMs = 2_000;

/** Runs a role until SIGTERM or SIGINT. Resolves with the exit status: 0 unless the start or the end failed. */
export async function runRole<Table extends OptionTable>(role: Role<Table>): Promise<number> {
  const { configuration, name, title } = role;
  const { values: config, sources, warnings } = configuration;
  const { drainDeadlineMs, logFormat, logLevel } = config as unknown as RoleConfig;
  const format = logFormat === 'auto' ? {} : { format: logFormat };
  const logs = new LogRoot({ level: logLevel, ...format, fields: role.logFields ?? {} });
  const logger = logs.scope(name);
  const version = packageVersion();
  logger.info({ version, config: chosenOptions(configuration) }, `${title} starts`);
  for (const warning of warnings) logger.warn(warning);

  const lifecycle = new Lifecycle();
  const readiness = new Readiness();
  const stop = stopSignals(logger);
  // Servers that answer others do not keep a process alive; a role lives until it is told to end.
  const awake = setInterval(() => {}, 60_000);
  let status = 0;
  try {
    const started = role.start({ config, sources, version, logs, lifecycle, readiness }, () =>
      stop.request('POST /quitquitquit'),
    );
    // A signal during the start ends it: what is started by then is closed.
    const reason = await Promise.race([started.then(() => stop.requested), stop.requested]);
    logger.info({ reason, deadlineMs: drainDeadlineMs }, 'draining');
  } catch (caught) {
    logger.fatal({ err: HadalError.from(caught, role.failure) }, `${title} cannot start`);
    status = 1;
  }
  readiness.drain();
  const report = await lifecycle.drain({ deadlineMs: status === 0 ? drainDeadlineMs + endingMs : 0 });
  for (const err of report.errors) logger.warn({ err }, 'a part did not end cleanly');
  logger.info({ overdue: report.overdue }, `${title} has ended`);
  stop.close();
  clearInterval(awake);
  return report.errors.length > 0 ? 1 : status;
}
