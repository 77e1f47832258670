import { defineConfig } from 'vitest/config';

/** Tests that need the kernel (namespaces, cgroups, BPF) run one file at a time: they share the machine's network and CPU. */
const onKernel = ['native', 'bpf', 'mesh', 'kubernetes'] as const;

const kernelProjects = process.env.HADAL_LONG === '1' ? [...onKernel, 'stress'] : onKernel;

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
          ...(name === 'kubernetes' ? { globalSetup: ['test/kubernetes/setup.ts'] } : {}),
          fileParallelism: false,
          // A group runs after the one before it: unit tests together, then each kernel project alone.
          sequence: { groupOrder: index + 1 },
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      })),
    ],
  },
});
