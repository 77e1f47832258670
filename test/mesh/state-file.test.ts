/** A state file that is broken, as a whole or in one resource. */
import { readFileSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { describeInLab, dial, echoPod, namespace, pod, whoAmIPod } from './world.ts';

const port = 8080;

interface StateText {
  workloads: { name: string; addresses: string[] }[];
}

interface LogLine {
  readonly msg: string;
  readonly err?: { readonly message: string };
  readonly resource?: string;
  readonly field?: string;
  readonly line?: number;
}

describeInLab(
  'a state file',
  {
    manifests: [
      namespace('shop', { mesh: true }),
      pod('shop/caller', 'a', { serviceAccount: 'caller' }),
      whoAmIPod('shop/who', 'b', port, { serviceAccount: 'who' }),
      echoPod('shop/echo', 'b', port, { serviceAccount: 'echo' }),
    ],
  },
  (world) => {
    let good = '';
    beforeEach(() => {
      good = readFileSync(world.lab.stateFile, 'utf8');
    });
    afterEach(async () => {
      writeFileSync(world.lab.stateFile, good);
      await expect.poll(stateError, { timeout: 5000 }).toBeUndefined();
    });

    async function stateError(): Promise<string | undefined> {
      const { body } = (await world.lab.node('a').agent?.get(15000, '/status')) ?? { body: '{}' };
      return (JSON.parse(body) as { stateError?: string }).stateError;
    }

    function errors(): LogLine[] {
      const text = readFileSync(world.lab.node('a').agent?.logPath ?? '', 'utf8');
      return text
        .split('\n')
        .filter((line) => line.includes('"level":"error"'))
        .map((line) => JSON.parse(line) as LogLine);
    }

    const reaches = async (name: string) =>
      (await dial(world.lab.pod('caller'), world.lab.pod(name).v4, port, 'hello')).received !== '';

    it('that is no YAML changes nothing, and the error names its line', async () => {
      // Without its last lines there would be nobody to call.
      writeFileSync(world.lab.stateFile, 'workloads:\n  - uid: x\n   name: [broken\n');
      await expect
        .poll(stateError, { timeout: 5000 })
        .toMatch(/the state file is broken at line 3: .*nothing/);
      expect(errors().at(-1)).toMatchObject({
        msg: 'the state file is not applied; what held before holds on',
        err: { message: expect.stringContaining('line 3') },
      });
      for (const name of ['who', 'echo']) expect(await reaches(name)).toBe(true);
    });

    it.each([
      ['an unknown part', 'workload: []\n', /line 1: workload is not known here/],
      ['no parts at all', '- a\n- b\n', /line 1: expected a map/],
      ['nothing', '', /line 1: it is empty/],
    ])('that holds %s changes nothing, and the error says why', async (_what, text, why) => {
      writeFileSync(world.lab.stateFile, text);
      await expect.poll(stateError, { timeout: 5000 }).toMatch(why);
      expect(await reaches('who')).toBe(true);
    });

    it('with one broken field keeps the last good version of that resource, by line and field, and applies the rest', async () => {
      const state = parse(good) as StateText;
      const index = state.workloads.findIndex(({ name }) => name === 'who');
      const who = state.workloads[index];
      if (who === undefined) throw new Error('the state file has no workload who');
      who.addresses[0] = '10.64.2.999';
      // Beside it a change that is good: nobody knows echo any more.
      state.workloads = state.workloads.filter(({ name }) => name !== 'echo');
      const text = stringify(state, { lineWidth: 0 });
      const at = state.workloads.indexOf(who);
      const line = text.split('\n').findIndex((one) => one.includes('10.64.2.999')) + 1;
      writeFileSync(world.lab.stateFile, text);
      await expect
        .poll(stateError, { timeout: 5000 })
        .toMatch(new RegExp(`/who, line ${line}: addresses\\[0\\] `));
      expect(errors().at(-1)).toMatchObject({
        resource: expect.stringMatching(/^workload .*\/who$/),
        field: `workloads[${at}].addresses[0]`,
        line,
      });
      expect(await reaches('who')).toBe(true);
      await expect.poll(() => reaches('echo'), { timeout: 4000 }).toBe(false);
    });
  },
);
