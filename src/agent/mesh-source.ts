import type { Closeable } from '../base/lifecycle.ts';
import type { XdsCounters, XdsStatus } from '../xds/client-state.ts';

export interface MeshSourceStatus {
  /** Why what the source says now is not in force, as a whole or in a part. */
  readonly error: string | undefined;
  /** Resources that are rejected alone. */
  readonly problems: readonly string[];
  /** What was rejected since the start. */
  readonly rejected: number;
}

/** Where the mesh state comes from: a file, or a control plane. */
export interface MeshSource extends Closeable {
  readonly status: MeshSourceStatus;
  /** Of a control plane only. */
  readonly controlPlane?: { readonly status: XdsStatus; readonly counters: XdsCounters };
}
