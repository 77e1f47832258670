/** What a lab tells while it works: lines for a person who waits, or for a test's failure. */
export interface LabLog {
  info(message: string): void;
  warn(message: string): void;
}

export const silentLog: LabLog = { info: () => {}, warn: () => {} };
