import type { Command } from 'commander';
import { readAgentConfig } from '../config/agent-config.ts';
import { type AgentConfig, agentOptions } from '../config/agent-options.ts';
import type { CommandContext } from './command-module.ts';
import { addOptionTable } from './option-table.ts';

const examples = `
Every option is also an environment variable, HADAL_NODE_NAME for --node-name; the command line wins.
docs/configuration.md has all of them with their units. Ends on SIGTERM, after its connections or its drain deadline.

Examples:
  $ hadal agent
  $ hadal agent --node-name node-1 --state-file /etc/hadal/state.yaml
  $ HADAL_LOG_LEVEL=debug hadal agent --pod-ranges 10.0.0.0/8 --service-ranges 10.96.0.0/16
`;

export function define(command: Command, { terminal, finish }: CommandContext): void {
  addOptionTable(command, agentOptions)
    .addHelpText('after', examples)
    .action(async (overrides: Partial<Record<keyof AgentConfig, string>>) => {
      const configuration = readAgentConfig({ environment: terminal.environment, overrides });
      const { runAgent } = await import('../agent/agent.ts');
      finish(await runAgent(configuration));
    });
}
