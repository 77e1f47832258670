/** Objects of every kind that says something of workloads and services, as odd as the parser lets them be. */
import fc from 'fast-check';
import { type KnownObject, objectId } from '../../../../src/source/kubernetes/objects.ts';
import { annotations, labels } from '../../../../src/source/translate/label-names.ts';
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
/** Mostly one, so that objects mean each other. */
const space = fc.constantFrom('shop', 'shop', 'shop', 'bank', 'istio-system');
const someLabels = fc.oneof(
  fc.dictionary(fc.constantFrom('app', 'version', ...Object.values(labels)), word, { maxKeys: 5 }),
  fc.constant({ app: 'front' }),
  fc.constant({ [labels.useWaypoint]: 'w', [labels.useWaypointCanary]: 'a', app: 'front' }),
);
const someAnnotations = fc.oneof(
  fc.dictionary(fc.constantFrom(...Object.values(annotations)), fc.oneof(word, fc.constant('enabled')), {
    maxKeys: 4,
  }),
  fc.constant({ [annotations.canaryWeight]: '50' }),
);
const selector = fc.oneof(
  fc.constant({ app: 'front' }),
  fc.dictionary(fc.constantFrom('app', 'version'), word, { maxKeys: 2 }),
);
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

export const anyObject: fc.Arbitrary<KnownObject> = fc.oneof(
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
export const clusters = fc.uniqueArray(anyObject, { selector: objectId, maxLength: 14 });
