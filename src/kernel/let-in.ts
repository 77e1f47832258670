/**
 * Lets one connection past the listeners of its destination's namespace, as the kernel does for those of the same-node path:
 * so that a probe meets neither policy nor agent.
 */
import type { BpfMap } from '../native/types.ts';
import type { CaptureMaps, Tuple } from './capture-maps.ts';

/** The function returned takes it back. */
export function letIn(maps: CaptureMaps, tuple: Tuple, destinationPodIndex: number): () => void {
  const authorized = maps.map('authorized');
  const key = maps.tuple.encode(tuple);
  authorized.set(key, authorization(authorized, destinationPodIndex));
  return () => void authorized.delete(key);
}

/** All but the destination is zero: a probe belongs to no edge. */
function authorization(map: BpfMap, destinationPodIndex: number): Uint8Array {
  const value = new Uint8Array(map.valueSize);
  const type = map.valueType;
  const member =
    type?.kind === 'struct' ? type.members.find(({ name }) => name === 'destination_pod_index') : undefined;
  const at = member?.offset ?? 0;
  new DataView(value.buffer).setUint32(at, destinationPodIndex, true);
  return value;
}
