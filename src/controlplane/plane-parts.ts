import type { Lifecycle } from '../base/lifecycle.ts';
import type { LogRoot } from '../base/logger.ts';
import type { ControlPlaneConfiguration } from '../config/control-plane-config.ts';
import type { ControlPlaneConfig } from '../config/control-plane-options.ts';
import type { Readiness } from '../runtime/readiness.ts';
import type { ApiClient } from '../source/api-server/api-client.ts';
import type { ObjectSource } from '../source/object-source.ts';
import type { ResourceStore } from '../xds/resource-store.ts';
import type { DiscoveryServer } from '../xds/server.ts';
import type { MeshPublisher } from './mesh-publisher.ts';
import type { MeshTranslation } from './mesh-translation.ts';
import type { AuthorityParts } from './plane-authority.ts';
import type { StatusWriting } from './plane-status-writing.ts';

/** What every part of a control plane is started with. */
export interface PlaneScope {
  readonly config: ControlPlaneConfig;
  readonly sources: ControlPlaneConfiguration['sources'];
  readonly version: string;
  readonly logs: LogRoot;
  readonly lifecycle: Lifecycle;
  readonly readiness: Readiness;
}

/** From objects to the mesh. */
export interface MeshParts {
  readonly source: ObjectSource;
  /** Of the cluster that is the source. */
  readonly api: ApiClient | undefined;
  readonly translation: MeshTranslation;
  readonly publisher: MeshPublisher;
  /** What agents are told. */
  readonly store: ResourceStore;
}

/** A running control plane, for what only reads it: metrics, admin, status. */
export interface PlaneParts extends PlaneScope, MeshParts, AuthorityParts {
  /** Undefined where nobody reads a status. */
  readonly writing: StatusWriting | undefined;
  readonly discovery: DiscoveryServer;
}
