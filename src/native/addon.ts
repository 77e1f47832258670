import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { HadalError } from '../base/errors.ts';
import type { NativeAddon } from './types.ts';

/** Another build of the addon (sanitizers, a debugger) instead of the package's own. */
const overrideVariable = 'HADAL_NATIVE_ADDON';

/** Seen from src/native and from dist/native alike. */
const builtPath = fileURLToPath(new URL('../../build/Release/hadal.node', import.meta.url));

let loaded: NativeAddon | undefined;

/** The native addon, loaded on first use. What it offers is declared in `types.ts`. Throws `ERR_NATIVE_LOAD`. */
export function nativeAddon(): NativeAddon {
  loaded ??= load(process.env[overrideVariable] ?? builtPath);
  return loaded;
}

function load(path: string): NativeAddon {
  if (process.platform !== 'linux') {
    throw new HadalError('ERR_NATIVE_LOAD', `Hadal runs on Linux, this is ${process.platform}`);
  }
  if (!existsSync(path)) {
    throw new HadalError('ERR_NATIVE_LOAD', `the native addon ${path} is missing; run \`npm run build\``);
  }
  try {
    return createRequire(import.meta.url)(path) as NativeAddon;
  } catch (cause) {
    throw new HadalError('ERR_NATIVE_LOAD', `the native addon ${path} does not load: ${adviceFor(cause)}`, {
      cause,
    });
  }
}

function adviceFor(cause: unknown): string {
  const message = cause instanceof Error ? cause.message : String(cause);
  const library = /(lib[\w.+-]+): cannot open shared object file/.exec(message)?.[1];
  if (library !== undefined) {
    const debianPackage = debianPackages[library];
    return debianPackage === undefined
      ? `${library} is not installed`
      : `${library} is not installed; run \`apt-get install ${debianPackage}\``;
  }
  const symbol = /undefined symbol: (\S+)/.exec(message)?.[1];
  if (symbol !== undefined) {
    return `symbol ${symbol} is missing in Node ${process.version}; use the Node of node_modules (\`npx hadal\`), or run \`npm run build\``;
  }
  return `${message}; run \`npm run build\``;
}

const debianPackages: Readonly<Record<string, string>> = {
  'libbpf.so.1': 'libbpf1',
  'libmnl.so.0': 'libmnl0',
  'libelf.so.1': 'libelf1',
};
