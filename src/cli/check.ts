import type { Command } from 'commander';
import { readAgentConfig } from '../config/agent-config.ts';
import type { Requirement } from '../kernel/requirements.ts';
import { unknownPath } from '../routing/same-node-path.ts';
import type { AgentStatus } from '../runtime/agent-status.ts';
import { askAgents } from './admin-client.ts';
import { type AgentChoice, addAgentOptions, findAgents, isChosen, ownAgents } from './agent-address.ts';
import type { CommandContext } from './command-module.ts';
import { jsonText, type OutputFormat, outputOption } from './output-option.ts';
import { formatCount } from './quantities.ts';
import { pathRequirement } from './same-node-path.ts';
import { exitStatus, type Terminal } from './terminal.ts';

const examples = `
Tries each requirement where that harms nobody: programs are loaded, hooks attached to a cgroup and a network namespace
made for it; nothing stays behind. Reads the agent's HADAL_* variables. An agent that runs is asked what its probes between pods
of the node have shown (path_leaves_node: they meet an interface that is no pod's). Ends with 1 when an agent cannot capture here.

Examples:
  $ sudo hadal check
  $ sudo hadal check -o json | jq -r '.requirements[] | select(.ok | not) | .id'
`;

export function define(command: Command, { terminal, finish }: CommandContext): void {
  addAgentOptions(command)
    .addOption(outputOption('table', 'json'))
    .addHelpText('after', examples)
    .action(async ({ output, ...choice }: AgentChoice & { output: OutputFormat }) => {
      const { values } = readAgentConfig({ environment: terminal.environment });
      const { nativeAddon } = await import('../native/addon.ts');
      const { canCapture, checkRequirements } = await import('../kernel/requirements.ts');
      const ofMachine = await checkRequirements({
        native: nativeAddon(),
        ...(values.cgroupRoot === '' ? {} : { cgroupPath: values.cgroupRoot }),
        ...(values.kubeletCgroup === '' ? {} : { kubeletCgroup: values.kubeletCgroup }),
      });
      const ok = canCapture(ofMachine);
      const requirements = [...ofMachine, ...(await pathRequirements(choice, terminal))];
      terminal.out(
        output === 'json' ? jsonText({ ok, requirements }) : describeRequirements(requirements, ok),
      );
      if (!ok) finish(exitStatus.failed);
    });
}

/** Of the agents that run; none where none was named and none is here. */
async function pathRequirements(choice: AgentChoice, terminal: Terminal): Promise<Requirement[]> {
  const agents = isChosen(choice) ? await findAgents(choice, terminal) : ownAgents(terminal);
  const answers = await askAgents<AgentStatus>(agents, '/status');
  return answers.flatMap((answer) => {
    if ('error' in answer) return [pathRequirement(answer.agent.name, unknownPath(answer.error.message))];
    const { node, sameNodePath } = answer.value;
    return sameNodePath === undefined ? [] : [pathRequirement(node, sameNodePath)];
  });
}

/** One line each; what is not there with what it costs and what to do. */
export function describeRequirements(requirements: readonly Requirement[], ok: boolean): string {
  const width = Math.max(...requirements.map(({ need }) => need.length));
  const lines = requirements.flatMap((requirement) => {
    const { need, found, lost, remedy, since } = requirement;
    const [first = '', ...rest] = found.trimEnd().split('\n');
    const head = `${markOf(requirement)}  ${need.padEnd(width)}  ${first}`.trimEnd();
    if (requirement.ok) return [head];
    const more = rest.map((line) => `         ${line}`);
    const facts: readonly (readonly [string, string])[] = [
      ['without it', lost],
      ['since', since === '' ? '' : `Linux ${since}`],
      ['try', remedy],
    ];
    const known = facts.filter(([, text]) => text !== '');
    return [head, ...more, ...known.map(([name, text]) => `         ${name}: ${text}`)];
  });
  return `${lines.join('\n')}\n\n${summaryOf(requirements, ok)}\n`;
}

function markOf({ ok, essential }: Requirement): string {
  if (ok) return 'ok     ';
  return essential ? 'MISSING' : 'without';
}

function summaryOf(requirements: readonly Requirement[], ok: boolean): string {
  const missing = requirements.filter((each) => !each.ok);
  const essential = missing.filter((each) => each.essential).length;
  if (!ok) return `an agent cannot run here: ${formatCount(essential, 'requirement')} missing`;
  if (missing.length === 0) return 'an agent can run here';
  return `an agent can run here, without ${formatCount(missing.length, 'thing')} that it could use`;
}
