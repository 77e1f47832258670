import type { Command } from 'commander';
import type { ExplainedEndpoint, Explanation } from '../routing/explain.ts';
import type { CommandContext } from './command-module.ts';
import { addMeshOptions, findMesh, type MeshChoice } from './mesh-choice.ts';
import { jsonText, type OutputFormat, outputOption } from './output-option.ts';
import { formatCount } from './quantities.ts';
import { exitStatus } from './terminal.ts';

const examples = `
Prints the judgement that is enforced: an agent is asked for its own, with its mesh state and its options. Ends with 1 when the
connection would be refused. SOURCE is NAMESPACE/NAME of a pod or of what owns it, or the address of somebody outside the mesh;
DESTINATION is ADDRESS:PORT, SERVICE:PORT as in DNS, or NAMESPACE/NAME:PORT.

Examples:
  $ hadal explain shop/front catalog.shop:80
  $ hadal explain 192.0.2.7 shop/catalog:8080
  $ hadal explain shop/front 10.96.0.12:80 --directory manifests -o json
`;

interface Options extends MeshChoice {
  readonly output: OutputFormat;
}

export function define(command: Command, { terminal, finish }: CommandContext): void {
  addMeshOptions(command.argument('<source>', 'who connects').argument('<destination>', 'to what'))
    .addOption(outputOption('table', 'json'))
    .addHelpText('after', examples)
    .action(async (source: string, destination: string, options: Options) => {
      const mesh = await findMesh(options, terminal);
      const explanation = await mesh.explain(source, destination);
      terminal.out(options.output === 'json' ? jsonText(explanation) : describe(explanation));
      if (explanation.verdict === 'refused') finish(exitStatus.failed);
    });
}

const shownEndpoints = 4;

function describe(explanation: Explanation): string {
  const { source, identity, destination, service, outbound, endpoints } = explanation;
  const shown = endpoints.slice(0, shownEndpoints);
  const lines = [
    `${source} ${identity === '' ? '(without identity)' : `(${identity})`}`,
    `  to ${destination}${service === '' ? '' : `, service ${service}`}: ${verdict(explanation)}`,
    ...paragraph('On the way out', outbound),
    ...shown.flatMap((endpoint) => paragraph(heading(endpoint), endpoint.explanation)),
    ...(endpoints.length > shown.length
      ? ['', `And ${formatCount(endpoints.length - shown.length, 'endpoint')} more: -o json has all`]
      : []),
  ];
  return `${lines.join('\n')}\n`;
}

function verdict({ verdict: word, reason, endpoints }: Explanation): string {
  if (word === 'allowed') return 'allowed';
  if (word === 'refused') return `refused (${reason})`;
  const refused = endpoints.filter(({ allowed }) => !allowed).length;
  return refused === 0
    ? 'as its waypoint decides'
    : `refused (${reason}) by ${refused} of ${formatCount(endpoints.length, 'endpoint')}`;
}

const ways: Readonly<Record<ExplainedEndpoint['path'], string>> = {
  tunnel: ' by tunnel',
  plaintext: ' in the clear',
  node_local: ' directly, both being on one node',
};

function heading({ workload, address, path, decidedBy, allowed, reason }: ExplainedEndpoint): string {
  const where = `${workload === '' ? address : `${workload} at ${address}`}${ways[path]}`;
  const word = allowed ? 'allowed' : `refused (${reason})`;
  return `${where}: ${decidedBy === 'agent' ? word : decidedBy === 'waypoint' ? 'its waypoint decides' : 'nobody decides'}`;
}

function paragraph(title: string, sentences: readonly string[]): string[] {
  return ['', title, ...sentences.map((sentence) => `  - ${sentence}`)];
}
