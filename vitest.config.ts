import { defineConfig } from 'vitest/config';

/**
 * Tests that need the kernel make namespaces and cgroups of their own, so two files at a time do not meet. Those of
 * `kubernetes` share an API server, and those of `timed` measure: one file at a time.
 */
const onKernel: Readonly<Record<string, number>> = { native: 2, bpf: 2, kubernetes: 1, mesh: 2 };

const timed = [
  'control-plane-away',
  'crowd',
  'demo',
  'dns-service',
  'half-open',
  'joining',
  'load',
  'pool',
  'port-scan',
  'readme',
  'stalled-reader',
  'streams',
].map((name) => `test/mesh/${name}.test.ts`);

interface KernelProject {
  readonly name: string;
  readonly include: readonly string[];
  readonly exclude: readonly string[];
  readonly workers: number;
}

function kernelProject(name: string, workers: number): KernelProject {
  return { name, include: [`test/${name}/**/*.test.ts`], exclude: timed, workers };
}

const kernelProjects: readonly KernelProject[] = [
  ...Object.entries(onKernel).map(([name, workers]) => kernelProject(name, workers)),
  { name: 'timed', include: timed, exclude: [], workers: 1 },
  ...(process.env.HADAL_LONG === '1' ? [kernelProject('stress', 1)] : []),
  // `npm run test:istio`: istiod is built for these, which takes longer than all others together.
  ...(process.env.HADAL_ISTIO === '1' ? [kernelProject('istio', 1)] : []),
];

const globalSetups: Readonly<Record<string, string>> = {
  kubernetes: 'test/kubernetes/setup.ts',
  istio: 'test/istio/setup.ts',
};

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          sequence: { groupOrder: 0 },
          include: ['test/unit/**/*.test.ts'],
          testTimeout: 10_000,
        },
      },
      ...kernelProjects.map(({ name, include, exclude, workers }, index) => ({
        test: {
          name,
          include: [...include],
          exclude: [...exclude],
          ...(name in globalSetups ? { globalSetup: [globalSetups[name] ?? ''] } : {}),
          fileParallelism: workers > 1,
          maxWorkers: workers,
          // A group runs after the one before it: unit tests together, then one kernel project after the other.
          sequence: { groupOrder: index + 1 },
          // Programs that are started for each look take a second on a busy machine; what must be quicker says so.
          expect: { poll: { timeout: 5_000 } },
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      })),
    ],
  },
});
