import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { nativeAddon } from '../../src/native/addon.ts';
import { KernelFixture } from './fixture.ts';

describe('the loader of the addon', () => {
  const fixture = new KernelFixture();
  afterAll(() => fixture.dispose());

  const loadFrom = (path: string): string => {
    const script = `import { nativeAddon } from './src/native/addon.ts';
      try { nativeAddon(); console.log('loaded'); } catch (error) { console.log(error.code, error.message); }`;
    return execFileSync(process.execPath, ['--input-type=module', '-e', script], {
      cwd: join(import.meta.dirname, '../..'),
      env: { ...process.env, HADAL_NATIVE_ADDON: path },
      encoding: 'utf8',
    }).trim();
  };

  it('says what to do when the addon was not built', () => {
    expect(loadFrom('/nonexistent/hadal.node')).toBe(
      'ERR_NATIVE_LOAD the native addon /nonexistent/hadal.node is missing; run `npm run build`',
    );
  });

  it('says what to do when the file is not what it should be', () => {
    const path = join(fixture.directory(), 'hadal.node');
    writeFileSync(path, 'not a shared object');
    expect(loadFrom(path)).toMatch(/^ERR_NATIVE_LOAD .* does not load: .*run `npm run build`$/);
  });

  it('gives memory back that the C library holds free, and says whether there was any', () => {
    nativeAddon().trimMemory();
    expect(nativeAddon().trimMemory()).toBeTypeOf('boolean');
  });

  it('names the package of a missing library', () => {
    const directory = fixture.directory();
    const path = join(directory, 'hadal.node');
    const compile = (args: string[]): void => {
      execFileSync('gcc', ['-shared', '-fPIC', '-o', ...args], { input: '', cwd: directory });
    };
    compile(['libmnl.so.0', '-Wl,-soname,libmnl.so.0.gone', '-x', 'c', '-']);
    compile([path, '-Wl,--no-as-needed', './libmnl.so.0', '-x', 'c', '-']);
    expect(loadFrom(path)).toContain('libmnl.so.0.gone is not installed');
  });

  it('names a symbol that this Node lacks', () => {
    const path = join(fixture.directory(), 'hadal.node');
    execFileSync('gcc', ['-shared', '-fPIC', '-o', path, '-Wl,-z,now', '-x', 'c', '-'], {
      input:
        'void napi_of_the_future(void); void* napi_register_module_v1(void) { napi_of_the_future(); return 0; }',
    });
    expect(loadFrom(path)).toContain('symbol napi_of_the_future is missing in Node v24.');
  });
});
