// src/proto from the .proto files, by buf and ts-proto of node_modules. Nothing is fetched: buf carries Google's own files.
import { spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { GeneratedFile } from './main.ts';

const tsProtoOptions = [
  'fileSuffix=.gen',
  'importSuffix=.ts',
  'esModuleInterop=true',
  // Types alone can be erased, so that the files run as they are.
  'enumsAsLiterals=true',
  'unrecognizedEnum=false',
  'oneof=unions-value',
  // What is not understood is told, so it must not be lost while decoding.
  'unknownFields=true',
  // Keys come from outside; `__proto__` is one like any other in a Map.
  'useMapType=true',
  'outputJsonMethods=false',
  'useExactTypes=false',
  'outputServices=grpc-js',
  'annotateFilesWithVersion=false',
];

const template = {
  version: 'v2',
  plugins: [{ local: 'protoc-gen-ts_proto', out: '.', strategy: 'all', opt: tsProtoOptions }],
};

export function wireFiles(root: string): GeneratedFile[] {
  const out = mkdtempSync(join(tmpdir(), 'hadal-proto-'));
  try {
    runBuf(root, out);
    return globSync('**/*.gen.ts', { cwd: out })
      .sort()
      .map((file) => ({
        path: `src/proto/${file}`,
        content: refuseTrickery(file, readFileSync(join(out, file), 'utf8')),
      }));
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}

function runBuf(root: string, out: string): void {
  const { status, stderr, error } = spawnSync(
    join(root, 'node_modules/.bin/buf'),
    ['generate', join(root, 'proto'), '--template', JSON.stringify(template), '-o', out],
    {
      encoding: 'utf8',
      env: { ...process.env, PATH: `${join(root, 'node_modules/.bin')}:${process.env.PATH}` },
    },
  );
  if (status !== 0) {
    throw new Error(`buf generate failed: ${error?.message ?? stderr}`);
  }
}

const endsEarly = /if \(\(tag & 7\) === 4 \|\| tag === 0\) \{\s*break;\s*\}/g;
const endsAnywhere = /^( *)return message;\n\s*\} finally \{/gm;

/**
 * As generated, a decoder takes the tag 0 or the end of a group for the end of the message, and does not notice when a field
 * reaches past that end: rules of a policy could be lost without a word. Every other decoder refuses such bytes.
 */
function refuseTrickery(file: string, content: string): string {
  const decoders = content.match(/^ {2}decode\(input.*\{$/gm)?.length ?? 0;
  for (const pattern of [endsEarly, endsAnywhere]) {
    if ((content.match(pattern)?.length ?? 0) !== decoders) {
      throw new Error(`${file} has ${decoders} decoders that look different; adapt scripts/generate/wire.ts`);
    }
  }
  return content
    .replace(endsEarly, (found) =>
      found.replace('break;', 'throw new globalThis.Error(`invalid tag $' + '{tag}`);'),
    )
    .replace(
      endsAnywhere,
      (found, indent: string) =>
        `${indent}if (reader.pos !== end) {\n${indent}  throw new globalThis.Error("a field reaches past its message");\n${indent}}\n${found}`,
    );
}
