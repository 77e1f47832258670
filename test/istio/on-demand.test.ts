/** Agents that ask istiod for addresses one by one, while a connection waits. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { eventually } from '../kubernetes/world.ts';
import { connectionWhere, sectionOf } from '../mesh/observe.ts';
import { dial } from '../mesh/world.ts';
import { LabUnderIstiod, port } from './lab-world.ts';
import { describeUnderIstiod, runPod } from './world.ts';

const asked = 'asked';

describeUnderIstiod('two agents that ask istiod one by one', (world) => {
  let under: LabUnderIstiod;

  beforeAll(async () => {
    const env = { HADAL_XDS_ON_DEMAND: 'true', HADAL_POD_RANGES: '10.64.0.0/10' };
    under = await LabUnderIstiod.start(world, asked, env);
    await under.enrolAll([]);
  });
  afterAll(() => under?.stop());

  const namesAt = async (node: string, kind: 'workloads' | 'services') =>
    (await sectionOf<{ name: string; namespace: string }[]>(under.lab, node, kind))
      .filter(({ namespace }) => namespace === asked)
      .map(({ name }) => name);

  it('learn a service and its endpoint by its address, and carry the connection', async () => {
    expect(await namesAt('a', 'workloads')).not.toContain('server');
    const dialled = await dial(under.pod('caller'), under.clusterIp, 80, 'hello');
    expect(dialled).toMatchObject({ ok: true, received: 'hello' });
    expect(await namesAt('a', 'workloads')).toEqual(expect.arrayContaining(['caller', 'server']));
    expect(await namesAt('a', 'services')).toEqual(['server']);
    const seen = await connectionWhere(under.lab, 'a', ({ path }) => path === 'tunnel');
    expect(seen.destination.identity).toBe(`spiffe://cluster.local/ns/${asked}/sa/server`);
  });

  it('learn of a pod that came to be after it was asked for', async () => {
    const { v4 } = under.pod('server');
    const later = v4.replace(/\.\d+$/, '.77');
    expect(await dial(under.pod('caller'), later, port)).toMatchObject({ ok: false });
    await runPod(world.admin, asked, 'later', { node: 'b', ip: later });
    await eventually(async () => (await namesAt('a', 'workloads')).includes('later'), 'it is told');
  });
});
