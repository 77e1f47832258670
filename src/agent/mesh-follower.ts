import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createSnapshot, type MeshResources } from '../model/snapshot.ts';
import { captureRanges, captureRangesInTurns, mayChangeRanges } from './capture-ranges.ts';
import { KeptState } from './kept-state.ts';
import { MeshState } from './mesh-state.ts';
import type { AgentScope, DataPath, PodParts } from './parts.ts';

type Followers = Pick<DataPath, 'kernel' | 'tunnel'> & Pick<PodParts, 'enrolment'>;

/**
 * A state from the file becomes a snapshot, which the tables, the kernel's ranges and the enrolment follow. `onFirst` is
 * called when one is in force, be it that of the earlier agent.
 */
export async function followMesh(
  scope: AgentScope,
  followers: Followers,
  onFirst: () => void,
): Promise<MeshState> {
  const { config, logs, lifecycle } = scope;
  const { kernel, tunnel, enrolment } = followers;
  const logger = logs.scope('state');
  const kept = new KeptState(join(config.dataDirectory, 'mesh-state.json'), logger);
  lifecycle.own('kept mesh state', kept);
  const ranges = { pods: config.podRanges, services: config.serviceRanges, network: config.network };
  let areRangesWritten = false;
  // Of a large mesh each step takes tens of milliseconds; in between others have their turn.
  const onState = async (resources: MeshResources) => {
    const snapshot = createSnapshot(resources);
    await nextTurn();
    const diff = tunnel.setSnapshot(snapshot);
    // Also when the ranges of the state before could not be written: they are not known to be in force.
    if (!areRangesWritten || mayChangeRanges(diff)) {
      areRangesWritten = false;
      kernel.capture.setRanges(await captureRangesInTurns(snapshot, ranges));
    }
    areRangesWritten = true;
    enrolment.onSnapshot();
    kept.keep(resources);
    onFirst();
  };
  const before = await kept.read().catch((err: unknown) => {
    logger.error({ err }, 'the mesh state of the earlier agent cannot be read');
    return undefined;
  });
  const meshState = new MeshState({ path: config.stateFile, kept: before, onState, logger });
  lifecycle.own('mesh state', meshState);
  await meshState.start();
  // Without any state the cluster's ranges are captured, and every destination inside is refused as unknown. Ranges that an
  // earlier agent left stay until then.
  if (tunnel.snapshot.workloads.size === 0) kernel.capture.setRanges(captureRanges(tunnel.snapshot, ranges));
  return meshState;
}
