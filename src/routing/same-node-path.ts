/**
 * Whether connections between pods of this node stay in its memory. Only then may the kernel carry them without encryption;
 * some networks carry them out of the node or translate their addresses, and until a probe has shown the way nobody knows.
 */
export type PathState = 'unknown' | 'stays' | 'leaves';

export interface SameNodePath {
  readonly state: PathState;
  /** In words; '' when it stays. */
  readonly reason: string;
  /** By which it left. */
  readonly interfaceName?: string;
}

export const unknownPath = (reason: string): SameNodePath => Object.freeze({ state: 'unknown', reason });
