/** One API server for all tests of the project. Where it cannot be had, they skip with the reason. */
import type { TestProject } from 'vitest/node';
import { findAssets, type Machines, startMachines } from './machines.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    readonly kubernetes: Machines | { readonly missing: string };
  }
}

export default async function setup(project: TestProject): Promise<(() => Promise<void>) | undefined> {
  let assets: string;
  try {
    assets = await findAssets();
  } catch (error) {
    const missing = error instanceof Error ? error.message : String(error);
    console.warn(`test/kubernetes is skipped: ${missing}`);
    project.provide('kubernetes', { missing });
    return undefined;
  }
  const { stop, ...machines } = await startMachines(assets);
  project.provide('kubernetes', machines);
  return stop;
}
