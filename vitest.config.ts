import { defineConfig } from 'vitest/config';

/** Tests that need the kernel (namespaces, cgroups, BPF) run one file at a time: they share the machine's network and CPU. */
const onKernel = ['native', 'bpf', 'mesh', 'kubernetes'] as const;

/** `npm run test:istio`: istiod is built for these, which takes longer than all others together. */
const withIstio = process.env.HADAL_ISTIO === '1' ? ['istio'] : [];

const kernelProjects = [...onKernel, ...(process.env.HADAL_LONG === '1' ? ['stress'] : []), ...withIstio];

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
      ...kernelProjects.map((name, index) => ({
        test: {
          name,
          include: [`test/${name}/**/*.test.ts`],
          ...(name in globalSetups ? { globalSetup: [globalSetups[name] ?? ''] } : {}),
          fileParallelism: false,
          // A group runs after the one before it: unit tests together, then each kernel project alone.
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
