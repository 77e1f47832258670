import { statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { meshSettingsKey } from '../model/mesh-settings.ts';
import { type Service, serviceKey } from '../model/service.ts';
import { createSnapshot, type MeshResources } from '../model/snapshot.ts';
import { dumpPolicies, dumpServices, dumpWorkloads } from '../runtime/mesh-dump.ts';
import type { LabNode } from './node.ts';

const timeoutMs = 5_000;

/**
 * Waits until every agent that runs goes by the state file as it is now: what is ready is not reachable a moment earlier.
 * An agent that refuses the file is not waited for longer than a few seconds; its own status says why.
 */
export async function stateInForce(nodes: Iterable<LabNode>, stateFile: string): Promise<void> {
  const writtenAt = Math.floor(statSync(stateFile).mtimeMs);
  const deadline = Date.now() + timeoutMs;
  for (const { agent } of nodes) {
    while (agent?.isRunning === true && Date.now() < deadline) {
      const dump = await agent
        .admin<{ meshState: { appliedAt?: string } }>('/config_dump?section=meshState')
        .catch(() => undefined);
      if (Date.parse(dump?.meshState.appliedAt ?? '') >= writtenAt) break;
      await sleep(20);
    }
  }
}

/** The same where a control plane tells them: until each shows the mesh that the lab's objects make. */
export async function meshInForce(nodes: Iterable<LabNode>, mesh: () => MeshResources): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (const { agent } of nodes) {
    while (agent?.isRunning === true && Date.now() < deadline) {
      const snapshot = createSnapshot(mesh());
      const expected = {
        workloads: dumpWorkloads(snapshot),
        services: dumpServices(snapshot),
        policies: dumpPolicies(snapshot),
      };
      const shown = await agent
        .admin<Record<string, unknown[]>>('/config_dump?section=workloads,services,policies')
        .catch(() => undefined);
      if (
        JSON.stringify(sortedDump(shown)) === JSON.stringify(sortedDump(JSON.parse(JSON.stringify(expected))))
      )
        break;
      await sleep(20);
    }
  }
}

/** Order says nothing here, and what a control plane says of the mesh itself is none of the lab's objects. */
function sortedDump(dump: Record<string, unknown[]> | undefined): unknown {
  if (dump === undefined) return undefined;
  return ['workloads', 'services', 'policies'].map((kind) =>
    (dump[kind] ?? [])
      .filter((each) => serviceKey(each as Service) !== meshSettingsKey)
      .map((each) => JSON.stringify(each))
      .sort(),
  );
}
