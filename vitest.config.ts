import { defineConfig } from 'vitest/config';

/** Tests that need the kernel (namespaces, cgroups, BPF) run one file at a time: they share the machine's network and CPU. */
const onKernel = ['native', 'bpf', 'mesh', 'kubernetes'] as const;

export default defineConfig({
  test: {
    projects: [
      { test: { name: 'unit', include: ['test/unit/**/*.test.ts'], testTimeout: 10_000 } },
      ...onKernel.map((name) => ({
        test: {
          name,
          include: [`test/${name}/**/*.test.ts`],
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      })),
    ],
  },
});
