/** The agent's own discovery client, towards istiod, without an agent around it: what it would put in force, and what it refuses. */
import { Backoff } from '../../src/base/backoff.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { callMetadata, controlPlaneCredentials } from '../../src/identity/control-plane-channel.ts';
import type { MeshChange } from '../../src/model/change.ts';
import { serviceKey } from '../../src/model/service.ts';
import type { MeshResources } from '../../src/model/snapshot.ts';
import { XdsClient } from '../../src/xds/client.ts';
import type { ConvertedResource } from '../../src/xds/client-options.ts';
import type { RawResource } from '../../src/xds/client-stream.ts';
import { convertResource } from '../../src/xds/codec.ts';
import { GrpcTransport } from '../../src/xds/grpc-transport.ts';
import { nodeIdentity } from '../../src/xds/node-identity.ts';
import { refusingWith } from '../../src/xds/refusing-policy.ts';
import type { KeptVersions, noVersions } from '../../src/xds/versioned-change.ts';
import { agentAccount } from './istiod.ts';
import type { IstioWorld } from './world.ts';

type Kind = keyof MeshResources;
export type Named = Readonly<Record<Kind, Map<string, object>>>;

export interface AgentClientOptions {
  readonly tokenFile: string;
  readonly node: string;
  readonly onDemand?: boolean;
  readonly kept?: KeptVersions;
  /** Refuses what the agent would understand. */
  readonly refuse?: (resource: RawResource) => string | undefined;
}

export class AgentClient {
  readonly client: XdsClient;
  /** What is in force. */
  readonly mesh: Named = { workloads: new Map(), services: new Map(), policies: new Map() };
  /** Versions of what is in force, as an agent keeps them on disk. */
  readonly versions: Readonly<Record<Kind, Map<string, string>>> = {
    workloads: new Map(),
    services: new Map(),
    policies: new Map(),
  };
  readonly changes: MeshChange[] = [];
  readonly absent: string[] = [];

  constructor(
    { istiod }: Pick<IstioWorld, 'istiod'>,
    { tokenFile, node, onDemand = false, kept, refuse = () => undefined }: AgentClientOptions,
  ) {
    const facts = {
      nodeName: node,
      clusterId: 'Kubernetes',
      network: '',
      podName: `agent-${node}`,
      podNamespace: agentAccount.namespace,
      podAddress: '',
    };
    this.client = new XdsClient({
      address: istiod.address,
      transport: new GrpcTransport({
        address: istiod.address,
        credentials: () => controlPlaneCredentials({ rootFile: istiod.rootFile }),
        serverName: istiod.serverName,
      }),
      metadata: () => callMetadata({ tokenFile, clusterId: 'Kubernetes' }),
      node: nodeIdentity(facts, {}),
      onDemand,
      kept,
      convert: (typeUrl, resource): ConvertedResource => {
        const why = refuse(resource);
        if (why !== undefined) throw new Error(why);
        return convertResource(typeUrl, resource);
      },
      refusing: refusingWith('istio-system'),
      onChange: ({ change, versions }) => {
        this.changes.push(change);
        for (const kind of ['workloads', 'services', 'policies'] as const) this.#take(kind, change, versions);
      },
      onAbsent: (names) => this.absent.push(...names),
      logger: silentLogger,
      backoff: new Backoff({ initialMs: 10, maxMs: 500 }),
    });
    this.client.start();
  }

  /** As an agent that starts again has them. */
  kept(): KeptVersions {
    return { versions: this.versions, generation: '' };
  }

  close(): Promise<void> {
    return this.client.close();
  }

  #take(kind: Kind, change: MeshChange, versions: typeof noVersions): void {
    for (const name of change[kind].removals) {
      this.mesh[kind].delete(name);
      this.versions[kind].delete(name);
    }
    for (const value of change[kind].upserts) this.mesh[kind].set(nameOf(value), value);
    for (const [name, version] of versions[kind]) this.versions[kind].set(name, version);
  }
}

/** Of a workload, a service or a policy. */
export function nameOf(value: object): string {
  if ('uid' in value) return String(value.uid);
  if ('hostname' in value) return serviceKey(value as never);
  const { namespace, name } = value as { namespace: string; name: string };
  return `${namespace}/${name}`;
}
