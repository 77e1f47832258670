/** What a command sees of the world. Tests give one of their own, so that output can be compared as text. */
export interface Terminal {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Fires when the user wants out (Ctrl-C); for commands that run until then. */
  readonly interrupted: AbortSignal;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** Exit statuses, the same for every command. */
export const exitStatus = {
  ok: 0,
  /** It did not work, or what was checked is not in order. */
  failed: 1,
  /** The command was not understood. */
  usage: 2,
} as const;
