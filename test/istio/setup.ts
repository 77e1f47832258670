/** The API server of test/kubernetes, and where istiod and istioctl are. Where they cannot be had, the tests skip with the reason. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { TestProject } from 'vitest/node';
import { findAssets, type Machines, startMachines } from '../kubernetes/machines.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    readonly istio: { readonly machines: Machines; readonly assets: string } | { readonly missing: string };
  }
}

export default async function setup(project: TestProject): Promise<(() => Promise<void>) | undefined> {
  try {
    const assets = await istioAssets();
    const { stop, ...machines } = await startMachines(await findAssets());
    project.provide('istio', { machines, assets });
    return stop;
  } catch (error) {
    const missing = error instanceof Error ? error.message : String(error);
    console.warn(`test/istio is skipped: ${missing}`);
    project.provide('istio', { missing });
    return undefined;
  }
}

/** Building takes its time: `npm run test:istio` does it, a test that somebody starts alone does not. */
async function istioAssets(): Promise<string> {
  const script = new URL('../../scripts/istio-assets.sh', import.meta.url).pathname;
  const env = { HADAL_ISTIO_BUILD: 'false', ...process.env };
  try {
    return (await promisify(execFile)(script, { env })).stdout.trim();
  } catch (error) {
    const { stderr } = error as { stderr?: string };
    throw new Error(stderr?.trim().split('\n').at(-1) ?? String(error));
  }
}
