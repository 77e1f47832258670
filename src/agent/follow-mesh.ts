import { join } from 'node:path';
import type { MeshResources } from '../model/snapshot.ts';
import { KeptState } from './kept-state.ts';
import { type Followers, MeshFollower } from './mesh-follower.ts';
import type { MeshSource } from './mesh-source.ts';
import { MeshState } from './mesh-state.ts';
import type { AgentScope } from './parts.ts';
import { XdsMesh } from './xds-mesh.ts';

/**
 * A state from the file, or from the control plane, becomes a snapshot, which the tables, the kernel's ranges and the enrolment
 * follow. `onFirst` is called when one is in force, be it that of the earlier agent; `onConnected` whenever the control plane is
 * there again.
 */
export async function followMesh(
  scope: AgentScope,
  followers: Followers,
  onFirst: () => void,
  onConnected: () => void,
): Promise<MeshSource> {
  const { config, logs, lifecycle } = scope;
  const logger = logs.scope('state');
  const disk = new KeptState(join(config.dataDirectory, 'mesh-state'), logger);
  lifecycle.own('kept mesh state', disk);
  const ranges = { pods: config.podRanges, services: config.serviceRanges, network: config.network };
  const follower = new MeshFollower(followers, disk, ranges);
  const kept = await disk.read().catch((err: unknown) => {
    logger.error({ err }, 'the mesh state of the earlier agent cannot be read');
    return undefined;
  });
  if (kept !== undefined)
    await follower.restore(kept).catch((err: unknown) => {
      logger.error({ err }, 'a part of the kept mesh state is not in force; it is tried again with the next');
    });
  const source = config.xdsAddress === '' ? ofFile() : ofControlPlane();
  lifecycle.own('mesh state', source);
  await source.start();
  // Ranges that an earlier agent left stay until then.
  if (follower.snapshot.workloads.size === 0) follower.captureClusterRanges();
  return source;

  function ofFile(): MeshState {
    const onState = async (resources: MeshResources) => {
      await follower.become(resources);
      onFirst();
    };
    return new MeshState({ path: config.stateFile, kept: kept?.resources, onState, logger });
  }

  function ofControlPlane(): XdsMesh {
    const onAbsent = (names: readonly string[]) => followers.tunnel.tellAbsent(names);
    const usedNames = (idleMs: number) => followers.tunnel.usedNames(idleMs);
    const mesh = new XdsMesh({ scope, follower, kept, onFirst, onConnected, onAbsent, usedNames });
    if (config.xdsOnDemand) followers.tunnel.lookUpWith(mesh);
    return mesh;
  }
}
