import type { Command } from 'commander';
import { meshSettingsKey } from '../model/mesh-settings.ts';
import { serviceKey } from '../model/service.ts';
import type { CommandContext } from './command-module.ts';
import { addMeshOptions, findMesh, type MeshChoice } from './mesh-choice.ts';
import { addNamespaceOption, byPlace, isIn, type NamespaceChoice } from './namespace-option.ts';
import { jsonText, type OutputFormat, outputOption } from './output-option.ts';
import { type Column, renderTable } from './table.ts';

const examples = `
ENDPOINTS are those that are healthy, of all. PORTS are SERVICE:TARGET; a target of 0 is named by each pod itself.
-o json has the names of /config_dump.

Examples:
  $ hadal services
  $ hadal services --namespace shop -o wide
  $ hadal services --directory manifests
`;

interface Options extends MeshChoice, NamespaceChoice {
  readonly output: OutputFormat;
}

interface DumpedService {
  readonly name: string;
  readonly namespace: string;
  readonly hostname: string;
  readonly vips: readonly string[];
  readonly cidrVips: readonly string[];
  readonly ports: Readonly<Record<string, number>>;
  readonly waypoint?: { readonly destination: string };
  readonly endpoints: Readonly<Record<string, unknown>>;
  readonly loadBalancer: { readonly mode: string; readonly healthPolicy: string };
}

interface ServiceRow extends DumpedService {
  readonly healthy: number;
}

interface Dump {
  readonly services: DumpedService[];
  readonly workloads: readonly { readonly uid: string; readonly status: string }[];
}

export function define(command: Command, { terminal }: CommandContext): void {
  addNamespaceOption(addMeshOptions(command))
    .addOption(outputOption('table', 'wide', 'json'))
    .addHelpText('after', examples)
    .action(async (options: Options) => {
      const mesh = await findMesh(options, terminal);
      const dump = await mesh.read<Dump>(['services', 'workloads']);
      const services = dump.services.filter(isIn(options)).filter(isReal).sort(byPlace);
      if (options.output === 'json') return terminal.out(jsonText({ services }));
      if (services.length === 0) return terminal.out('no services\n');
      const healthy = new Set(
        dump.workloads.filter(({ status }) => status === 'Healthy').map(({ uid }) => uid),
      );
      const rows = services.map((service) => ({
        ...service,
        healthy: Object.keys(service.endpoints).filter((uid) => healthy.has(uid)).length,
      }));
      terminal.out(renderTable(options.output === 'wide' ? [...columns, ...wide] : columns, rows));
    });
}

/** What a control plane says of the mesh as a whole travels as a service that carries nothing. */
const isReal = (service: DumpedService) => serviceKey(service) !== meshSettingsKey;

const columns: readonly Column<ServiceRow>[] = [
  { title: 'NAMESPACE', cell: ({ namespace }) => namespace },
  { title: 'NAME', cell: ({ name, hostname }) => name || hostname },
  {
    title: 'ADDRESSES',
    // The network before the slash is '' where there is only one.
    cell: ({ vips, cidrVips }) => [...vips, ...cidrVips].map((vip) => vip.replace(/^\//, '')).join(' '),
  },
  {
    title: 'PORTS',
    cell: ({ ports }) =>
      Object.entries(ports)
        .map(([port, target]) => `${port}:${target}`)
        .join(' '),
  },
  {
    title: 'ENDPOINTS',
    cell: ({ healthy, endpoints }) => `${healthy}/${Object.keys(endpoints).length}`,
    align: 'right',
  },
  { title: 'WAYPOINT', cell: ({ waypoint }) => waypoint?.destination ?? '' },
];

const wide: readonly Column<ServiceRow>[] = [
  { title: 'HOSTNAME', cell: ({ hostname }) => hostname },
  {
    title: 'BALANCING',
    cell: ({ loadBalancer }) => loadBalancer.mode.toLowerCase().replace('unspecified_mode', 'any'),
  },
];
