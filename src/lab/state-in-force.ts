import { statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
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
