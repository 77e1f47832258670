import { expect, it } from 'vitest';
import { findName } from '../../../src/dns/find-name.ts';
import { createService } from '../../../src/model/service.ts';
import { createSnapshot } from '../../../src/model/snapshot.ts';

const labels = (count: number) => Array.from({ length: count }, () => 'a').join('.');
const search = Array.from({ length: 32 }, (_, index) => labels(index + 1));
const wildcard = createService({ namespace: 'shop', hostname: `*.${labels(15)}` });
const snapshot = createSnapshot({ workloads: [], services: [wildcard], policies: [] });

/** How often the mesh is asked for a name, and what is found. */
function search32(name: string, ndots: number) {
  let looks = 0;
  const table = {
    endpointsOf: (service: string) => snapshot.endpointsOf(service),
    servicesNamed: (hostname: string) => {
      looks += 1;
      return snapshot.servicesNamed(hostname);
    },
  };
  const scope = { snapshot: table, namespace: 'shop', preferredNamespace: '' };
  return { found: findName(scope, name, { search, ndots }), looks: () => looks };
}

it('takes few looks for a name of most labels with a search list that all ends in it', () => {
  const { found, looks } = search32(`b.${labels(60)}.x.${labels(60)}`, 1);
  expect(found).toMatchObject({ service: { hostname: wildcard.hostname } });
  const none = search32(`${labels(60)}.x.${labels(10)}`, 1);
  expect(none.found).toBeUndefined();
  expect(Math.max(looks(), none.looks())).toBeLessThan(100);
});

it('takes a bounded number of looks for a short name under all of its search domains', () => {
  const { found, looks } = search32('x', 15);
  expect(found).toMatchObject({ name: `x.${labels(15)}` });
  expect(looks()).toBeLessThan(800);
});
