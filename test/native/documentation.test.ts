import { execFileSync, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { KernelFixture, kernelTestsUnavailable, runChild } from './fixture.ts';

const root = join(import.meta.dirname, '../..');

describe.skipIf(kernelTestsUnavailable)('docs/libbpf-bindings.md', () => {
  const fixture = new KernelFixture();
  afterAll(() => fixture.dispose());

  it('has an example that works as it stands', async () => {
    const page = readFileSync(join(root, 'docs/libbpf-bindings.md'), 'utf8');
    const block = (language: string): string => {
      const found = new RegExp(`\`\`\`${language}\n([^]*?)\`\`\``).exec(page)?.[1];
      if (found === undefined) throw new Error(`no ${language} block`);
      return found;
    };
    const directory = fixture.directory();
    const source = join(directory, 'connections.bpf.c');
    const object = join(directory, 'connections.bpf.o');
    const script = join(directory, 'connections.ts');
    writeFileSync(source, block('c'));
    writeFileSync(script, block('ts').replace("'./src/", `'${root}/src/`));
    execFileSync('clang', [
      '-target',
      'bpf',
      '-O2',
      '-g',
      '-I/usr/include/x86_64-linux-gnu',
      '-c',
      source,
      '-o',
      object,
    ]); // prettier-ignore

    const cgroup = fixture.cgroup();
    const child = spawn(process.execPath, [script, object, cgroup], { stdio: ['pipe', 'pipe', 'pipe'] });
    let output = '';
    child.stdout.on('data', (chunk) => {
      output += chunk;
    });
    child.stderr.on('data', (chunk) => {
      output += chunk;
    });
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    for (let i = 0; i < 50 && output === ''; i++) {
      await runChild('connect.mjs', ['127.0.0.1:9', '127.0.0.1:10'], { cgroup });
    }
    child.stdin.end();
    const code = await ended;
    expect(output).toMatch(/^(connection to 127\.0\.0\.1:9\n)+$/);
    expect(code).toBe(0);
  });
});
