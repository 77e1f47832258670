import type { Logger } from '../base/logger.ts';

export interface StopSignals {
  /** Resolves with what asked the process to end. */
  readonly requested: Promise<string>;
  request(reason: string): void;
  close(): void;
}

/** SIGTERM and SIGINT ask for a drain; a second SIGINT, as from somebody who waits at a terminal, ends the process at once. */
export function stopSignals(logger: Logger): StopSignals {
  let resolve: (reason: string) => void = () => {};
  const requested = new Promise<string>((done) => {
    resolve = done;
  });
  let asked = false;
  const onSignal = (signal: NodeJS.Signals) => {
    if (asked && signal === 'SIGINT') {
      logger.warn('ended by a second SIGINT, without a drain');
      process.exit(130);
    }
    asked = true;
    resolve(signal);
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  return {
    requested,
    request: (reason) => {
      asked = true;
      resolve(reason);
    },
    close: () => {
      process.off('SIGTERM', onSignal);
      process.off('SIGINT', onSignal);
    },
  };
}
