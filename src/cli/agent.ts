import { type Command, Option } from 'commander';
import { readAgentConfig } from '../config/agent-config.ts';
import { type AgentConfig, agentOptions } from '../config/agent-options.ts';
import type { CommandContext } from './command-module.ts';

const examples = `
Every option is also an environment variable, HADAL_NODE_NAME for --node-name; the command line wins.
docs/configuration.md has all of them with their units. Ends on SIGTERM, after its connections or its drain deadline.

Examples:
  $ hadal agent
  $ hadal agent --node-name node-1 --state-file /etc/hadal/state.yaml
  $ HADAL_LOG_LEVEL=debug hadal agent --pod-ranges 10.0.0.0/8 --service-ranges 10.96.0.0/16
`;

export function define(command: Command, { terminal, finish }: CommandContext): void {
  for (const [name, row] of Object.entries(agentOptions)) {
    const usual = row.defaultDoc ?? (typeof row.default === 'string' ? row.default : '');
    const option = new Option(
      `--${flagName(row.env)} <${placeholder(row.unit)}>`,
      `${row.doc}${usual === '' ? '' : ` (default: ${usual})`}`,
    );
    // commander would name it after the flag, which is made of the variable's name, not of the table's.
    option.attributeName = () => name;
    command.addOption(option.helpGroup(`${row.group}:`));
  }
  command
    .addHelpText('after', examples)
    .action(async (overrides: Partial<Record<keyof AgentConfig, string>>) => {
      const configuration = readAgentConfig({ environment: terminal.environment, overrides });
      const { runAgent } = await import('../agent/agent.ts');
      finish(await runAgent(configuration));
    });
}

/** `HADAL_HTTP2_STREAM_WINDOW` is `http2-stream-window`. */
function flagName(env: string): string {
  return env
    .replace(/^HADAL_/, '')
    .toLowerCase()
    .replaceAll('_', '-');
}

function placeholder(unit: string): string {
  return /^[a-z ]+$/i.test(unit) && unit.length <= 12 ? unit.replaceAll(' ', '-').toLowerCase() : 'value';
}
