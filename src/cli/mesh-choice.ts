/** Whose word about the mesh a command takes: an agent's or a control plane's, by its admin server, or a directory's. */
import type { Command } from 'commander';
import { HadalError } from '../base/errors.ts';
import type { Explanation } from '../routing/explain.ts';
import { askAgent } from './admin-client.ts';
import { type AgentChoice, addAgentOptions, findAgents } from './agent-address.ts';
import type { Terminal } from './terminal.ts';

export interface MeshChoice extends AgentChoice {
  readonly directory?: string;
}

export type MeshSection = 'workloads' | 'services' | 'policies';

/** The mesh as `/config_dump` has it, whoever tells. */
export interface MeshReader {
  read<T>(sections: readonly MeshSection[]): Promise<T>;
  explain(source: string, destination: string): Promise<Explanation>;
}

export function addMeshOptions(command: Command): Command {
  return addDirectoryOption(addAgentOptions(command));
}

export function addDirectoryOption(command: Command): Command {
  return command.option(
    '--directory <dir>',
    'manifests (*.yaml, *.json) as if they ran, without agent and cluster',
  );
}

export function refuseAgents({ admin, lab, node }: AgentChoice): void {
  if (admin === undefined && lab === undefined && node === undefined) return;
  throw new HadalError(
    'ERR_USAGE',
    '--directory is asked instead of agents: leave out --admin, --lab and --node',
  );
}

export async function findMesh(choice: MeshChoice, terminal: Terminal): Promise<MeshReader> {
  const { directory, ...agents } = choice;
  if (directory === undefined) return askedMesh(agents, terminal);
  refuseAgents(agents);
  // Loaded only here: neither an agent's parts nor the addon are needed to ask one.
  const { openDirectoryMesh } = await import('./directory-mesh.ts');
  const { mesh, notes } = openDirectoryMesh(directory);
  for (const note of notes) terminal.err(`hadal: ${note}\n`);
  return mesh;
}

/** All agents of a mesh know the same; the first that answers is asked. */
async function askedMesh(choice: AgentChoice, terminal: Terminal): Promise<MeshReader> {
  const agents = await findAgents(choice, terminal);
  const ask = async <T>(path: string): Promise<T> => {
    let failure: unknown;
    for (const agent of agents) {
      try {
        return await askAgent<T>(agent, path);
      } catch (caught) {
        failure ??= caught;
        // It answered, and another one would say the same.
        if (HadalError.from(caught).details.status === 400) break;
      }
    }
    throw failure;
  };
  return {
    read: (sections) => ask(`/config_dump?section=${sections.join(',')}`),
    explain: (source, destination) =>
      ask(`/explain?${new URLSearchParams({ source, destination }).toString()}`),
  };
}
