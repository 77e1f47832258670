/** What a command's file and the program that loads it agree on. */
import type { Command } from 'commander';
import type { Terminal } from './terminal.ts';

/** A command's own file: it declares arguments, options and the action. */
export interface CommandModule {
  /** Declares the command's arguments, options, help and action. */
  define(command: Command, context: CommandContext): void;
}

export interface CommandContext {
  readonly terminal: Terminal;
  /** The exit status, when it is not 0. */
  readonly finish: (status: number) => void;
}

/** Also for subcommands: settings are not handed down to a command that exists already. */
export function configure(command: Command, terminal: Terminal): Command {
  return command
    .exitOverride()
    .configureOutput({
      writeOut: terminal.out,
      writeErr: terminal.err,
      getOutHelpWidth: () => 100,
      getErrHelpWidth: () => 100,
    })
    .configureHelp({ showGlobalOptions: false });
}
