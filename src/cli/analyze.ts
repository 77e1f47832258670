import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Finding } from '../source/analysis/finding.ts';
import type { CommandContext } from './command-module.ts';
import { jsonText, type OutputFormat, outputOption } from './output-option.ts';
import { formatCount } from './quantities.ts';
import { exitStatus } from './terminal.ts';

const examples = `
Reads *.yaml and *.json of the directory; Deployments and their like stand for their pods. Names what would be rejected, refused
or not enforced, selectors and ports that meet nothing, and policies that agents take more strictly than they are written. Needs
neither root nor a cluster. Ends with 1 when there is an error, with --strict also when there is a warning.

Examples:
  $ hadal analyze manifests
  $ hadal analyze manifests --strict -o json | jq -r '.findings[] | [.code, .object] | @tsv'
`;

interface Options {
  readonly output: OutputFormat;
  readonly strict?: true;
}

export function define(command: Command, { terminal, finish }: CommandContext): void {
  command
    .argument('<directory>', 'manifests')
    .option('--strict', 'warnings count as errors')
    .addOption(outputOption('table', 'json'))
    .addHelpText('after', examples)
    .action(async (directory: string, { output, strict }: Options) => {
      const { readManifestSet } = await import('../source/offline/manifest-set.ts');
      const { analyzeManifests } = await import('../source/analysis/analyze.ts');
      const set = readManifestSet(resolve(directory));
      const findings = analyzeManifests(set);
      const errors = findings.filter(({ severity }) => severity === 'error').length;
      const warnings = findings.length - errors;
      const counts = {
        errors,
        warnings,
        objects: set.objects.length - set.placeholders.size,
        files: set.files.length,
      };
      terminal.out(output === 'json' ? jsonText({ findings, ...counts }) : describe(findings, counts));
      if (errors > 0 || (strict === true && warnings > 0)) finish(exitStatus.failed);
    });
}

function describe(
  findings: readonly Finding[],
  counts: {
    readonly errors: number;
    readonly warnings: number;
    readonly objects: number;
    readonly files: number;
  },
): string {
  const lines = findings.map(({ severity, code, file, line, object, field, message }) => {
    const where = field === '' ? object : `${object}: ${field}`;
    return `${file}:${line}: ${severity}: ${where}: ${message} (${code})`.replace(/\p{Cc}/gu, '?');
  });
  const { errors, warnings, objects, files } = counts;
  const all = `${formatCount(objects, 'object')} in ${formatCount(files, 'file')}`;
  const found =
    findings.length === 0
      ? 'nothing to say against them'
      : `${formatCount(errors, 'error')}, ${formatCount(warnings, 'warning')}`;
  return `${[...lines, `${all}: ${found}`].join('\n')}\n`;
}
