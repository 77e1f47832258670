/** Editing a label in a manifest file, with agents: what a person at an editor does. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { dial, echoPod, namespace, pod, startTestLab, whyNoLab } from './world.ts';

describe.skipIf(whyNoLab !== undefined)('a label edited in a manifest', () => {
  it('joins and leaves the mesh within two seconds while the programs run', { timeout: 60_000 }, async () => {
    const directory = mkdtempSync(join(tmpdir(), 'hadal-labels-'));
    const write = (mesh: boolean) =>
      writeFileSync(
        join(directory, 'pods.yaml'),
        [namespace('t'), pod('t/client', 'a', { mesh }), echoPod('t/server', 'b', 8080, { mesh: true })].join(
          '\n---\n',
        ),
      );
    write(false);
    const lab = await startTestLab({ directory });
    try {
      await lab.waitReady();
      const { pause } = lab.pod('client');
      const within = { timeout: 2_000, interval: 20 };
      for (const mesh of [true, false, true]) {
        write(mesh);
        await expect.poll(() => lab.pod('client').held, within).toBe(mesh);
        const word = `mesh ${mesh}`;
        expect((await dial(lab.pod('client'), lab.pod('server').v4, 8080, word)).received).toBe(word);
        // The server's agent says how it came: with an identity, or without.
        const paths = async () => {
          const told = await lab.node('b').agent?.connections('pod=t/server');
          return (told?.connections ?? [])
            .filter(({ reason }) => reason !== 'kubelet')
            .map(({ path }) => path)[0];
        };
        await expect.poll(paths, { timeout: 5_000 }).toBe(mesh ? 'tunnel' : 'plaintext');
      }
      expect(lab.pod('client').pause).toEqual(pause);
    } finally {
      await lab.stop();
      rmSync(directory, { recursive: true });
    }
  });
});
