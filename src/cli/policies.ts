import type { Command } from 'commander';
import type { CommandContext } from './command-module.ts';
import { addMeshOptions, findMesh, type MeshChoice } from './mesh-choice.ts';
import { addNamespaceOption, byPlace, isIn, type NamespaceChoice } from './namespace-option.ts';
import { jsonText, type OutputFormat, outputOption } from './output-option.ts';
import { type Column, renderTable } from './table.ts';

const examples = `
What agents enforce: ALLOW and DENY on connections. WORKLOADS is how many the policy is for; one that the agent does not
understand refuses all connections to them, until it does or the policy is removed. One that is rejected, and of which no control
plane knows what it said before, denies all until it is corrected or deleted; hadal status says what is wrong with it. docs/policies.md
says what becomes of a policy that asks for HTTP; hadal analyze says it of each. -o json has the names of /config_dump.

Examples:
  $ hadal policies
  $ hadal policies --directory manifests -o json
`;

interface Options extends MeshChoice, NamespaceChoice {
  readonly output: OutputFormat;
}

interface DumpedPolicy {
  readonly name: string;
  readonly namespace: string;
  readonly scope: 'Global' | 'Namespace' | 'WorkloadSelector';
  readonly action: string;
  readonly dryRun: boolean;
  /** It stands for one that is rejected, and refuses. An agent does not know that. */
  readonly isPlaceholder?: true;
  readonly rules: readonly unknown[];
  readonly notUnderstood?: string;
}

interface DumpedWorkload {
  readonly namespace: string;
  readonly protocol: string;
  readonly authorizationPolicies: readonly string[];
}

interface PolicyRow extends DumpedPolicy {
  readonly workloads: number;
}

export function define(command: Command, { terminal }: CommandContext): void {
  addNamespaceOption(addMeshOptions(command))
    .addOption(outputOption('table', 'json'))
    .addHelpText('after', examples)
    .action(async (options: Options) => {
      const mesh = await findMesh(options, terminal);
      const dump = await mesh.read<{ policies: DumpedPolicy[]; workloads: DumpedWorkload[] }>([
        'policies',
        'workloads',
      ]);
      const policies = dump.policies.filter(isIn(options)).sort(byPlace);
      if (options.output === 'json') return terminal.out(jsonText({ policies }));
      if (policies.length === 0) return terminal.out('no policies\n');
      // Nobody enforces anything in front of a pod that is not in the mesh.
      const held = dump.workloads.filter(({ protocol }) => protocol === 'HBONE');
      const rows = policies.map((policy) => ({ ...policy, workloads: held.filter(isFor(policy)).length }));
      terminal.out(renderTable(columns, rows));
    });
}

function isFor({ namespace, name, scope }: DumpedPolicy): (workload: DumpedWorkload) => boolean {
  return (workload) => {
    if (scope === 'Global') return true;
    if (scope === 'Namespace') return workload.namespace === namespace;
    return workload.authorizationPolicies.includes(`${namespace}/${name}`);
  };
}

function enforcement({ action, dryRun, notUnderstood, isPlaceholder }: PolicyRow): string {
  if (action.toUpperCase() === 'AUDIT') return 'only told';
  if (dryRun) return 'dry run';
  if (isPlaceholder === true) return 'denies all: rejected, no good version is known; correct or delete it';
  return notUnderstood === undefined ? 'yes' : `refuses all, not understood: ${notUnderstood}`;
}

const scopes = { Global: 'mesh', Namespace: 'namespace', WorkloadSelector: 'selected' } as const;

const columns: readonly Column<PolicyRow>[] = [
  { title: 'NAMESPACE', cell: ({ namespace }) => namespace },
  { title: 'NAME', cell: ({ name }) => name },
  { title: 'ACTION', cell: ({ action, notUnderstood }) => (notUnderstood ? '?' : action.toUpperCase()) },
  { title: 'FOR', cell: ({ scope }) => scopes[scope] },
  {
    title: 'RULES',
    cell: ({ rules, notUnderstood }) => (notUnderstood ? '?' : String(rules.length)),
    align: 'right',
  },
  { title: 'WORKLOADS', cell: ({ workloads }) => String(workloads), align: 'right' },
  { title: 'ENFORCED', cell: enforcement },
];
