import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createWorkload, type Workload, workloadTypes } from '../../../src/model/workload.ts';
import { formatBaggage, parseBaggage } from '../../../src/routing/baggage.ts';

const workload = createWorkload({
  uid: 'u',
  namespace: 'shop',
  workloadName: 'front',
  canonicalName: 'front-app',
  canonicalRevision: 'v2',
  clusterId: 'east',
  locality: { region: 'eu', zone: 'eu-1', subzone: '' },
});

describe('baggage', () => {
  it('tells who a workload is', () => {
    expect(formatBaggage(workload)).toBe(
      'k8s.cluster.name=east,k8s.namespace.name=shop,k8s.deployment.name=front,service.name=front-app,' +
        'service.version=v2,cloud.region=eu,cloud.availability_zone=eu-1',
    );
  });

  it('leaves out what is empty', () => {
    expect(formatBaggage(createWorkload({ uid: 'u' }))).toBe('k8s.cluster.name=Kubernetes');
  });

  it.each(workloadTypes)('reads the name of a %s', (workloadType) => {
    const header = formatBaggage(createWorkload({ ...workload, workloadType }));
    expect(header).toContain(`k8s.${workloadType.toLowerCase()}.name=front`);
    expect(parseBaggage(header).workload).toBe('front');
  });

  it('reads what other agents write', () => {
    expect(
      parseBaggage(
        'k8s.cluster.name=,k8s.pod.name=a , service.name=b;prop=1,other=c,service.version=%76,noise',
      ),
    ).toEqual({
      cluster: '',
      namespace: '',
      workload: 'a',
      service: 'b',
      version: 'v',
      region: '',
      zone: '',
    });
    expect(parseBaggage('service.name=a%zz,__proto__=x,constructor=y')).toMatchObject({ service: 'a%zz' });
  });

  it('comes back as it went, whatever the names', () => {
    const text = fc.string({ unit: fc.constantFrom(...'aZ0 ,;=%\\"é漢\u{1f600}\r\n\0'), maxLength: 20 });
    const fields = fc.record({
      namespace: text,
      workloadName: text,
      canonicalName: text,
      canonicalRevision: text,
      clusterId: text,
      region: text,
      zone: text,
    });
    fc.assert(
      fc.property(fields, fc.constantFrom(...workloadTypes), ({ region, zone, ...rest }, workloadType) => {
        const given: Workload = createWorkload({
          uid: 'u',
          ...rest,
          workloadType,
          locality: { region, zone, subzone: '' },
        });
        const header = formatBaggage(given);
        expect(header).toMatch(/^[\x21-\x7e]*$/);
        expect(parseBaggage(header)).toEqual({
          cluster: given.clusterId,
          namespace: given.namespace,
          workload: given.workloadName,
          service: given.canonicalName,
          version: given.canonicalRevision,
          region,
          zone,
        });
      }),
    );
  });

  it('never breaks, whatever a peer sends or a name holds', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary-ascii' }),
        (text) => Object.values(parseBaggage(text)).length === 7,
      ),
    );
    expect(formatBaggage(createWorkload({ uid: 'u', namespace: 'a\r\nx: y\ud800' }))).toMatch(
      /^[\x21-\x7e]*$/,
    );
  });
});
