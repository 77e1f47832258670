import { statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { meshSettingsKey } from '../model/mesh-settings.ts';
import { type Service, serviceKey } from '../model/service.ts';
import { createSnapshot, type MeshResources } from '../model/snapshot.ts';
import { dumpPolicies, dumpServices, dumpWorkloads } from '../runtime/mesh-dump.ts';
import type { LabNode } from './node.ts';

const timeoutMs = 5_000;

type Agent = NonNullable<LabNode['agent']>;

/**
 * Waits until every agent that runs goes by the state file as it is now: what is ready is not reachable a moment earlier.
 * An agent that refuses the file is not waited for longer than a few seconds; its own status says why. Returns the nodes that lag.
 */
export async function stateInForce(nodes: Iterable<LabNode>, stateFile: string): Promise<readonly string[]> {
  const writtenAt = Math.floor(statSync(stateFile).mtimeMs);
  return await laggingNodes(nodes, async (agent) => {
    const { meshState } = await agent.admin<{ meshState: { appliedAt?: string } }>(
      '/config_dump?section=meshState',
    );
    return Date.parse(meshState.appliedAt ?? '') >= writtenAt;
  });
}

/** The same where a control plane tells them: until each shows the mesh that the lab's objects make. */
export async function meshInForce(
  nodes: Iterable<LabNode>,
  mesh: () => MeshResources,
): Promise<readonly string[]> {
  return await laggingNodes(nodes, async (agent) => {
    const snapshot = createSnapshot(mesh());
    const expected = {
      workloads: dumpWorkloads(snapshot),
      services: dumpServices(snapshot),
      policies: dumpPolicies(snapshot),
    };
    const shown = await agent.admin<Record<string, unknown[]>>(
      '/config_dump?section=workloads,services,policies',
    );
    return (
      JSON.stringify(sortedDump(shown)) === JSON.stringify(sortedDump(JSON.parse(JSON.stringify(expected))))
    );
  });
}

/** One that cannot be asked goes by nothing. */
async function laggingNodes(
  nodes: Iterable<LabNode>,
  goesByIt: (agent: Agent) => Promise<boolean>,
): Promise<readonly string[]> {
  const deadline = Date.now() + timeoutMs;
  const lagging: string[] = [];
  for (const { name, agent } of nodes) {
    while (agent?.isRunning === true && !(await goesByIt(agent).catch(() => false))) {
      if (Date.now() > deadline) {
        lagging.push(name);
        break;
      }
      await sleep(20);
    }
  }
  return lagging;
}

/** Order says nothing here, and what a control plane says of the mesh itself is none of the lab's objects. */
function sortedDump(dump: Record<string, unknown[]>): unknown {
  return ['workloads', 'services', 'policies'].map((kind) =>
    (dump[kind] ?? [])
      .filter((each) => serviceKey(each as Service) !== meshSettingsKey)
      .map((each) => JSON.stringify(each))
      .sort(),
  );
}
