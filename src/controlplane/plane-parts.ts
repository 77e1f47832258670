import type { controlPlaneOptions } from '../config/control-plane-options.ts';
import type { RoleScope } from '../runtime/run-role.ts';
import type { ApiClient } from '../source/api-server/api-client.ts';
import type { ApiServerSource } from '../source/api-server/api-server-source.ts';
import type { LastGoodConfigMap } from '../source/api-server/last-good-config-map.ts';
import type { ObjectSource } from '../source/object-source.ts';
import type { ResourceStore } from '../xds/resource-store.ts';
import type { DiscoveryServer } from '../xds/server.ts';
import type { MeshPublisher } from './mesh-publisher.ts';
import type { MeshTranslation } from './mesh-translation.ts';
import type { AuthorityParts } from './plane-authority.ts';
import type { StatusWriting } from './plane-status-writing.ts';

/** What every part of a control plane is started with. */
export type PlaneScope = RoleScope<typeof controlPlaneOptions>;

/** From objects to the mesh. */
export interface MeshParts {
  /** The one of a cluster also says how it reads each kind. */
  readonly source: ObjectSource & Partial<Pick<ApiServerSource, 'kinds'>>;
  /** Of the cluster that is the source. */
  readonly api: ApiClient | undefined;
  /** What the leader writes down for the others; undefined where there are none. */
  readonly lastGood: LastGoodConfigMap | undefined;
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
