import type { Command } from 'commander';
import { readAgentConfig } from '../config/agent-config.ts';
import type { CommandContext } from './command-module.ts';
import { jsonText, type OutputFormat, outputOption } from './output-option.ts';
import { formatCount } from './quantities.ts';

const examples = `
Pods of one node may be connected without a proxy, by rows that the kernel keeps while no agent runs. A pod that comes may have the
address of one that went meanwhile: run this for its addresses at CNI ADD and at DEL, of every pod, in the mesh or not. New connections
to them then go to the agent, and are refused while there is none; open ones go on. Reads the agent's HADAL_BPFFS and HADAL_INSTANCE.

Examples:
  $ sudo hadal forget-address 10.244.1.17 fd00:10:244:1::11
`;

export function define(command: Command, { terminal }: CommandContext): void {
  command
    .argument('<address...>', 'addresses of the pod')
    .addOption(outputOption('table', 'json'))
    .addHelpText('after', examples)
    .action(async (addresses: string[], { output }: { output: OutputFormat }) => {
      const { values } = readAgentConfig({ environment: terminal.environment });
      const { nativeAddon } = await import('../native/addon.ts');
      const { forgetAddresses } = await import('../kernel/pinned-addresses.ts');
      const { bpffs, instance } = values;
      const forgotten = forgetAddresses({ native: nativeAddon(), bpffs, instance }, addresses);
      const told = `${formatCount(forgotten, 'direct way')} to ${addresses.join(', ')} taken out\n`;
      terminal.out(output === 'json' ? jsonText({ addresses, forgotten }) : told);
    });
}
