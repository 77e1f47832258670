import { expect, it } from 'vitest';
import { createService } from '../../../src/model/service.ts';
import { createSnapshot } from '../../../src/model/snapshot.ts';
import { createWorkload } from '../../../src/model/workload.ts';
import { unmeant } from '../../../src/tunnel/missing-names.ts';

const workload = (uid: string, address: string, service?: string) =>
  createWorkload({
    uid,
    namespace: 'shop',
    network: 'net',
    addresses: [address],
    services: service === undefined ? [] : [{ service, ports: [] }],
  });
const service = (name: string, address: string, length?: number) =>
  createService({
    namespace: 'shop',
    hostname: name,
    addresses: [{ network: 'net', address, length }],
  });

const mesh = createSnapshot({
  workloads: [
    workload('one', '10.0.0.1', 'shop/front'),
    workload('two', '10.0.0.2', 'shop/front'),
    workload('three', '10.0.0.3'),
    workload('four', '10.0.0.4', 'shop/range'),
  ],
  services: [service('front', '10.96.0.1'), service('range', '10.97.0.0', 24)],
  policies: [],
});

it.each([
  ['nothing', [], ['four', 'one', 'three', 'two'], ['shop/front', 'shop/range']],
  ['a workload by its uid', ['three'], ['four', 'one', 'two'], ['shop/front', 'shop/range']],
  ['a workload by its address', ['net/10.0.0.1'], ['four', 'three', 'two'], ['shop/front', 'shop/range']],
  ['a service by its name, with its endpoints', ['shop/front'], ['four', 'three'], ['shop/range']],
  ['a service by its address, with its endpoints', ['net/10.96.0.1'], ['four', 'three'], ['shop/range']],
  ['a service by an address in its range', ['net/10.97.0.9'], ['one', 'three', 'two'], ['shop/front']],
  [
    'no more, where the network is another',
    ['other/10.0.0.1'],
    ['four', 'one', 'three', 'two'],
    ['shop/front', 'shop/range'],
  ],
])('names mean %s', (_, names, workloads, services) => {
  const found = unmeant(mesh, names);
  expect([found.workloads.sort(), found.services.sort()]).toEqual([workloads, services]);
});
