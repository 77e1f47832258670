import type { Command } from 'commander';
import { readControlPlaneConfig } from '../config/control-plane-config.ts';
import { type ControlPlaneConfig, controlPlaneOptions } from '../config/control-plane-options.ts';
import { type CommandContext, configure } from './command-module.ts';
import { defineToken } from './control-plane-token.ts';
import { addOptionTable } from './option-table.ts';

const examples = `
Every option is also an environment variable, HADAL_DIRECTORY for --directory; the command line wins.
docs/control-plane-configuration.md has all of them with their units. Ends on SIGTERM.

Examples:
  $ hadal control-plane --directory /etc/mesh
  $ hadal control-plane --source kubernetes
  $ hadal control-plane --directory /etc/mesh --authority-directory /etc/cacerts --listen 0.0.0.0:15012
`;

export function define(command: Command, context: CommandContext): void {
  command.enablePositionalOptions();
  defineToken(configure(command.command('token'), context.terminal), context);
  const { terminal, finish } = context;
  addOptionTable(command, controlPlaneOptions)
    .addHelpText('after', examples)
    .action(async (overrides: Partial<Record<keyof ControlPlaneConfig, string>>) => {
      const configuration = readControlPlaneConfig({ environment: terminal.environment, overrides });
      const { runControlPlane } = await import('../controlplane/control-plane.ts');
      finish(await runControlPlane(configuration));
    });
}
