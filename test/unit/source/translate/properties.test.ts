/** Whatever stands in objects that the parser takes: they translate, in any order alike, to resources that agents take. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createSnapshot } from '../../../../src/model/snapshot.ts';
import { type KnownObject, objectId } from '../../../../src/source/kubernetes/objects.ts';
import { stateText } from '../../../../src/source/state-document.ts';
import { parseStateFile } from '../../../../src/source/state-file.ts';
import { annotations, labels } from '../../../../src/source/translate/label-names.ts';
import { translateObjects } from '../../../../src/source/translate/mesh.ts';
import {
  gateway,
  gatewayClass,
  machine,
  namespace,
  node,
  pod,
  service,
  serviceEntry,
  slice,
} from './objects.ts';

const long = process.env.HADAL_LONG === '1';
const numRuns = long ? 5_000 : 150;

const word = fc.constantFrom(
  'w',
  'front',
  'a',
  'shop',
  'none',
  'true',
  'false',
  'all',
  'workload',
  'x_Y',
  '',
  'http',
  '50',
  'PROXY/9',
);
const address = fc.constantFrom(
  '10.0.0.1',
  '10.0.0.2',
  'fd00::1',
  '10.1.0.0/16',
  'db.example.com',
  'x y',
  '',
  '240.240.0.7',
  '::ffff:1.2.3.4',
);
const name = fc.constantFrom('a', 'b', 'front', 'w');
const space = fc.constantFrom('shop', 'bank', 'istio-system');
const someLabels = fc.oneof(
  fc.dictionary(fc.constantFrom('app', 'version', ...Object.values(labels)), word, { maxKeys: 5 }),
  fc.constant({ [labels.useWaypoint]: 'w', [labels.useWaypointCanary]: 'a', app: 'front' }),
);
const someAnnotations = fc.oneof(
  fc.dictionary(fc.constantFrom(...Object.values(annotations)), fc.oneof(word, fc.constant('enabled')), {
    maxKeys: 4,
  }),
  fc.constant({ [annotations.canaryWeight]: '50' }),
);
const selector = fc.dictionary(fc.constantFrom('app', 'version'), word, { maxKeys: 2 });
const metadata = fc.record({
  name,
  namespace: space,
  labels: someLabels,
  annotations: someAnnotations,
  creationTimestamp: fc.constantFrom('2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z'),
});
const port = fc.integer({ min: 1, max: 65_535 });
const endpoint = fc.record({
  address,
  labels: someLabels,
  ports: fc.dictionary(word, port, { maxKeys: 2 }),
  locality: word,
  network: word,
  weight: fc.nat(3),
});

const objects: fc.Arbitrary<KnownObject> = fc.oneof(
  fc
    .record({
      metadata,
      podIPs: fc.array(fc.record({ ip: address })),
      phase: fc.constantFrom('Pending', 'Running', 'Failed'),
    })
    .map(({ metadata: own, ...status }) => pod(own, {}, status)),
  fc
    .record({
      metadata,
      selector,
      type: fc.constantFrom('ClusterIP', 'ExternalName'),
      ports: fc.array(fc.record({ port, name: word, targetPort: fc.oneof(port, fc.constant('http')) }), {
        maxLength: 3,
      }),
    })
    .map(({ metadata: own, ...spec }) => service(own, spec)),
  fc.record({ metadata, endpoint }).map((each) => machine(each.endpoint, each.metadata)),
  fc
    .record({
      metadata,
      hosts: fc.array(fc.constantFrom('a.com', 'b.com', '*.a.com', 'front.shop.svc.cluster.local'), {
        minLength: 1,
        maxLength: 3,
      }),
      addresses: fc.array(address, { maxLength: 2 }),
      ports: fc.array(fc.record({ number: port, name: word, protocol: word }), { maxLength: 3 }),
      resolution: fc.constantFrom('NONE', 'STATIC', 'DNS'),
      exportTo: fc.array(fc.constantFrom('.', '*', '~', 'bank'), { maxLength: 2 }),
      rest: fc.oneof(
        fc.record({ endpoints: fc.array(endpoint, { maxLength: 3 }) }),
        fc.record({ workloadSelector: fc.record({ labels: selector }) }),
      ),
    })
    .map(({ metadata: own, rest, ...spec }) => serviceEntry({ ...spec, ...rest }, own)),
  fc
    .record({ metadata, addresses: fc.array(address, { maxLength: 2 }), ref: fc.boolean() })
    .map(({ metadata: own, addresses, ref }) =>
      slice(
        { endpoints: [{ addresses, ...(ref ? { targetRef: { kind: 'Pod', name: 'a' } } : {}) }] },
        { ...own, labels: { 'kubernetes.io/service-name': 'front' } },
      ),
    ),
  fc
    .record({
      metadata,
      className: fc.constantFrom('istio-waypoint', 'istio-east-west', 'istio-remote'),
      addresses: fc.array(fc.record({ type: fc.constantFrom('IPAddress', 'Hostname'), value: address })),
    })
    .map(({ metadata: own, className, addresses }) =>
      gateway(own, { gatewayClassName: className }, { addresses }),
    ),
  fc.record({ labels: someLabels, annotations: someAnnotations }).map((each) => gatewayClass(each)),
  fc
    .record({ labels: someLabels, space, annotations: someAnnotations })
    .map((each) => namespace(each.labels, each.space, each.annotations)),
  someLabels.map((each) => node(each)),
);
const clusters = fc.uniqueArray(objects, { selector: objectId, maxLength: 14 });

describe('any objects', () => {
  it(
    'translate without an exception, to resources that an agent accepts one by one',
    () => {
      fc.assert(
        fc.property(clusters, (cluster) => {
          const { workloads, services } = translateObjects(cluster);
          // Two objects may give one name; which of them has it is not decided here.
          const snapshot = createSnapshot({ workloads, services, policies: [] });
          const resources = {
            workloads: [...snapshot.workloads.values()],
            services: [...snapshot.services.values()],
            policies: [],
          };
          const read = parseStateFile(stateText(resources));
          expect(read.problems).toEqual([]);
          expect(read.resources).toEqual(resources);
        }),
        { numRuns },
      );
    },
    long ? 600_000 : 30_000,
  );

  it(
    'translate alike in any order',
    () => {
      fc.assert(
        fc.property(clusters, fc.infiniteStream(fc.nat()), (cluster, numbers) => {
          const shuffled = cluster
            .map((object) => [numbers.next().value as number, object] as const)
            .sort(([left], [right]) => left - right)
            .map(([, object]) => object);
          const sorted = (all: readonly KnownObject[]) => {
            const { workloads, services, aliases, warnings } = translateObjects(all);
            return [workloads, services, aliases, warnings].map((each) =>
              each.map((one) => JSON.stringify(one)).sort(),
            );
          };
          expect(sorted(shuffled)).toEqual(sorted(cluster));
        }),
        { numRuns },
      );
    },
    long ? 600_000 : 30_000,
  );
});
