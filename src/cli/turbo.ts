import { existsSync } from 'node:fs';
import { type Command, InvalidArgumentError } from 'commander';
import { HadalError } from '../base/errors.ts';
import { readAgentConfig } from '../config/agent-config.ts';
import type { TurboCounts, TurboSwitch } from '../kernel/turbo.ts';
import type { CommandContext } from './command-module.ts';
import { jsonText, type OutputFormat, outputOption } from './output-option.ts';

const examples = `
Turns the switch in the kernel of this node, whether its agent runs or not; reads HADAL_INSTANCE and HADAL_BPFFS as the agent
does. What is sent from the next moment on goes by TCP, on open connections too, and nothing is lost. "off" holds, also for
agents that start later, until somebody says "on". Without a word: how the switch stands, and what it carried.

Examples:
  $ sudo hadal turbo off
  $ sudo hadal turbo -o json
  $ kubectl -n hadal-system exec daemonset/hadal-agent -- hadal turbo off
`;

type Word = 'on' | 'off';

export function define(command: Command, { terminal }: CommandContext): void {
  command
    .argument('[word]', 'on or off', parseWord)
    .addOption(outputOption('table', 'json'))
    .addHelpText('after', examples)
    .action(async (word: Word | undefined, { output }: { output: OutputFormat }) => {
      const { values } = readAgentConfig({ environment: terminal.environment });
      const [{ nativeAddon }, { Pins }, { ensureBpffs }, turbo] = await Promise.all([
        import('../native/addon.ts'),
        import('../kernel/pins.ts'),
        import('../kernel/file-systems.ts'),
        import('../kernel/turbo.ts'),
      ]);
      const pins = new Pins(ensureBpffs(values.bpffs), values.instance);
      const open = (name: string) => {
        const path = pins.map(name);
        if (existsSync(path)) return nativeAddon().openPinnedMap(path);
        throw new HadalError(
          'ERR_KERNEL_PIN',
          `there is no ${path}: no agent of this version has run here as instance '${values.instance}' (HADAL_INSTANCE)`,
        );
      };
      const map = open('turbo_switch');
      // On again means: as the agent wants it. Without one that attached the program there is nothing to turn on.
      if (word === 'off') turbo.writeTurboSwitch(map, 'killed');
      if (word === 'on') turbo.writeTurboSwitch(map, existsSync(pins.turbo) ? 'on' : 'off');
      const state = turbo.readTurboSwitch(map);
      const counts = turbo.readTurboCounts(open('turbo_counts'));
      terminal.out(output === 'json' ? jsonText({ state, counts }) : describeTurbo(state, counts));
    });
}

const states: Readonly<Record<TurboSwitch, string>> = {
  on: 'on, for pods that ask for it',
  off: 'off: no agent here allows it (HADAL_TURBO)',
  killed: 'off, by hand: hadal turbo on',
};

export function describeTurbo(state: TurboSwitch, counts: TurboCounts): string {
  const byTcp: readonly (readonly [keyof TurboCounts, string])[] = [
    ['tcpFirst', 'the first of their direction'],
    ['tcpUnacked', 'bytes before were still on their way'],
    ['tcpUnread', 'bytes before were not read yet'],
    ['tcpQueue', 'the queue of the reader was full'],
    ['tcpSender', 'the sender uses MSG_ZEROCOPY or TLS of the kernel'],
    ['tcpReader', 'the reader waits for more than one byte, looks ahead, or uses TLS of the kernel'],
    ['tcpMemory', 'the machine was short of memory for sockets'],
    ['tcpGone', 'the reader was gone'],
    ['tcpEnded', 'one end had shut the connection down'],
    ['tcpUnknown', 'the kernel does not tell enough'],
  ];
  const lines = [
    `turbo is ${states[state]}`,
    `  ends of connections that joined  ${counts.joined}`,
    `  that cannot join                 ${counts.refusedKind + counts.refusedRoom} (${counts.refusedRoom} for want of room)`,
    `  sends past TCP                   ${counts.redirected}`,
    ...byTcp
      .filter(([name]) => counts[name] > 0)
      .map(([name, why]) => `  sends by TCP                     ${counts[name]}: ${why}`),
  ];
  return `${lines.join('\n')}\n`;
}

function parseWord(value: string): Word {
  if (value === 'on' || value === 'off') return value;
  throw new InvalidArgumentError('on or off is meant.');
}
