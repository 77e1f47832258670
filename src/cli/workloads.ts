import type { Command } from 'commander';
import type { CommandContext } from './command-module.ts';
import { addMeshOptions, findMesh, type MeshChoice } from './mesh-choice.ts';
import { addNamespaceOption, byPlace, isIn, type NamespaceChoice } from './namespace-option.ts';
import { jsonText, type OutputFormat, outputOption } from './output-option.ts';
import { type Column, renderTable } from './table.ts';

const examples = `
PROTOCOL is HBONE for what is in the mesh, TCP for what is called in the clear. POLICIES are those that the workload names;
policies of its namespace and of the mesh count besides. -o json has the names of /config_dump.

Examples:
  $ hadal workloads
  $ hadal workloads --namespace shop --node node-1
  $ hadal workloads --directory manifests -o json | jq -r '.workloads[].uid'
`;

interface Options extends MeshChoice, NamespaceChoice {
  readonly output: OutputFormat;
}

/** What is shown of an entry of the dump. */
interface WorkloadRow {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly workloadIps: readonly string[];
  readonly hostname: string;
  readonly protocol: string;
  readonly status: string;
  readonly node: string;
  readonly serviceAccount: string;
  readonly waypoint?: { readonly destination: string };
  readonly services: readonly string[];
  readonly authorizationPolicies: readonly string[];
}

export function define(command: Command, { terminal }: CommandContext): void {
  addNamespaceOption(addMeshOptions(command))
    .addOption(outputOption('table', 'wide', 'json'))
    .addHelpText('after', examples)
    .action(async (options: Options) => {
      const mesh = await findMesh(options, terminal);
      const { workloads } = await mesh.read<{ workloads: WorkloadRow[] }>(['workloads']);
      const rows = workloads.filter(isIn(options)).sort(byPlace);
      if (options.output === 'json') terminal.out(jsonText({ workloads: rows }));
      else if (rows.length === 0) terminal.out('no workloads\n');
      else terminal.out(renderTable(options.output === 'wide' ? [...columns, ...wide] : columns, rows));
    });
}

const columns: readonly Column<WorkloadRow>[] = [
  { title: 'NAMESPACE', cell: ({ namespace }) => namespace },
  { title: 'NAME', cell: ({ name, uid }) => name || uid },
  { title: 'ADDRESSES', cell: ({ workloadIps, hostname }) => workloadIps.join(' ') || hostname },
  { title: 'NODE', cell: ({ node }) => node },
  { title: 'PROTOCOL', cell: ({ protocol }) => protocol },
  { title: 'STATUS', cell: ({ status }) => status },
  { title: 'ACCOUNT', cell: ({ serviceAccount }) => serviceAccount },
  { title: 'WAYPOINT', cell: ({ waypoint }) => waypoint?.destination ?? '' },
  { title: 'POLICIES', cell: ({ authorizationPolicies }) => authorizationPolicies.join(' ') },
];

const wide: readonly Column<WorkloadRow>[] = [
  { title: 'SERVICES', cell: ({ services }) => services.join(' ') },
  { title: 'UID', cell: ({ uid }) => uid },
];
