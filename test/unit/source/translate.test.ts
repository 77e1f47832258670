import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { namespaceObject } from '../../../src/source/kubernetes/namespace.ts';
import { type PodObject, podObject } from '../../../src/source/kubernetes/pod.ts';
import { type ServiceObject, serviceObject } from '../../../src/source/kubernetes/service.ts';
import { stateText } from '../../../src/source/state-document.ts';
import { parseStateFile } from '../../../src/source/state-file.ts';
import {
  canonicalName,
  canonicalRevision,
  workloadName,
} from '../../../src/source/translate/canonical-name.ts';
import { enrolmentWish } from '../../../src/source/translate/enrolment.ts';
import { clusterObjects, translateMesh } from '../../../src/source/translate/mesh.ts';
import { viewOf } from '../../../src/source/translate/object-view.ts';
import { translatePod } from '../../../src/source/translate/pod.ts';
import { translateService } from '../../../src/source/translate/service.ts';

type Json = Record<string, unknown>;

function pod(metadata: Json = {}, spec: Json = {}, status: Json = {}): PodObject {
  return podObject.parse({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'front-1', namespace: 'shop', ...metadata },
    spec: {
      nodeName: 'a',
      containers: [{ name: 'web', ports: [{ name: 'http', containerPort: 8080 }] }],
      ...spec,
    },
    status: {
      podIPs: [{ ip: '10.0.0.1' }, { ip: 'fd00::1' }],
      conditions: [{ type: 'Ready', status: 'True' }],
      ...status,
    },
  });
}

function service(spec: Json = {}, metadata: Json = {}): ServiceObject {
  return serviceObject.parse({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'front', namespace: 'shop', ...metadata },
    spec: {
      selector: { app: 'front' },
      clusterIP: '10.96.0.1',
      ports: [{ port: 80, targetPort: 'http' }],
      ...spec,
    },
  });
}

const namespace = (labels: Record<string, string> = {}) =>
  namespaceObject.parse({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop', labels } });

const ambient = { 'istio.io/dataplane-mode': 'ambient' };
const none = { 'istio.io/dataplane-mode': 'none' };
const held = { 'ambient.istio.io/redirection': 'enabled' };

describe('whether a pod should be in the mesh', () => {
  it.each([
    ['nothing says so', {}, {}, {}, false, 'no label'],
    ['its own label says so', { labels: ambient }, {}, {}, true, 'pod label'],
    ["its namespace's label says so", {}, ambient, {}, true, 'namespace label'],
    ['it opted out', { labels: none }, ambient, {}, false, 'opted out by label'],
    [
      "its own label is some other word, its namespace's counts",
      { labels: { 'istio.io/dataplane-mode': 'x' } },
      ambient,
      {},
      true,
      'namespace label',
    ],
    [
      "it is in the host's network",
      { labels: ambient },
      ambient,
      { hostNetwork: true },
      false,
      'host network',
    ],
    [
      'it has a sidecar',
      { labels: ambient, annotations: { 'sidecar.istio.io/status': '{}' } },
      {},
      {},
      false,
      'has a sidecar',
    ],
    [
      'it is in kube-system',
      { labels: ambient, namespace: 'kube-system' },
      {},
      {},
      false,
      'excluded namespace',
    ],
  ])('when %s', (_, metadata, namespaceLabels, spec, wanted, reason) => {
    expect(enrolmentWish(pod(metadata, spec), namespace(namespaceLabels))).toEqual({ wanted, reason });
  });
});

describe('a pod as a workload', () => {
  const translate = (object: PodObject, services: ServiceObject[] = [], labels = {}) =>
    translatePod(object, viewOf([namespace(labels), ...services])).workloads[0];

  it('is named by cluster, kind, namespace and name', () => {
    expect(translate(pod({}, { serviceAccountName: 'front' }))).toMatchObject({
      uid: 'Kubernetes//Pod/shop/front-1',
      name: 'front-1',
      namespace: 'shop',
      addresses: ['10.0.0.1', 'fd00::1'],
      serviceAccount: 'front',
      node: 'a',
      workloadType: 'POD',
      workloadName: 'front-1',
      status: 'HEALTHY',
      networkMode: 'STANDARD',
      tunnelProtocol: 'NONE',
    });
  });

  it.each([
    ['wished for and held', { labels: ambient, annotations: held }, {}, 'HBONE'],
    ['wished for but not held yet', { labels: ambient }, {}, 'NONE'],
    ['held but no longer wished for', { labels: none, annotations: held }, ambient, 'NONE'],
    ['wished for by its namespace and held', { annotations: held }, ambient, 'HBONE'],
    ['ends HBONE itself', { labels: { 'networking.istio.io/tunnel': 'http' } }, {}, 'HBONE'],
  ])('speaks the tunnel it can when %s', (_, metadata, labels, expected) => {
    expect(translate(pod(metadata), [], labels)?.tunnelProtocol).toBe(expected);
  });

  it.each([
    ['not ready', {}, { conditions: [] }, 'UNHEALTHY'],
    ['being deleted', { deletionTimestamp: '2026-01-01T00:00:00Z' }, {}, 'UNHEALTHY'],
  ])('is unhealthy when %s', (_, metadata, status, expected) => {
    expect(translate(pod(metadata, {}, status))?.status).toBe(expected);
  });

  it.each([
    ['has no address', { podIPs: [] }],
    ['has ended', { phase: 'Succeeded' }],
    ['has failed', { phase: 'Failed' }],
  ])('is none when it %s', (_, status) => {
    expect(translate(pod({}, {}, status))).toBeUndefined();
  });

  it('marks the network of the host, whose address does not name it', () => {
    expect(translate(pod({}, { hostNetwork: true }))?.networkMode).toBe('HOST_NETWORK');
  });

  it('belongs to the services that select it, with the port its own container gives', () => {
    const labelled = pod({ labels: { app: 'front', tier: 'web' } });
    const services = [
      service(),
      service({ selector: { app: 'front', tier: 'db' } }, { name: 'other-tier' }),
      service({ selector: {} }, { name: 'without-selector' }),
      service({}, { name: 'elsewhere', namespace: 'other' }),
      service({ type: 'ExternalName' }, { name: 'alias' }),
      service(
        {
          ports: [
            { port: 81, targetPort: 9000, name: 'grpc' },
            { port: 82 },
            { port: 83, targetPort: 'unknown' },
            { port: 84, protocol: 'UDP' },
          ],
        },
        { name: 'numbers' },
      ),
    ];
    expect(translate(labelled, services)?.services).toEqual([
      {
        service: 'shop/front.shop.svc.cluster.local',
        ports: [{ servicePort: 80, targetPort: 8080, appProtocol: 'UNKNOWN' }],
      },
      {
        service: 'shop/numbers.shop.svc.cluster.local',
        ports: [
          { servicePort: 81, targetPort: 9000, appProtocol: 'GRPC' },
          { servicePort: 82, targetPort: 82, appProtocol: 'UNKNOWN' },
        ],
      },
    ]);
  });
});

describe('the canonical name', () => {
  it.each([
    [
      'the label for it',
      { 'service.istio.io/canonical-name': 'a', 'app.kubernetes.io/name': 'b', app: 'c' },
      'a',
    ],
    ['the recommended label', { 'app.kubernetes.io/name': 'b', app: 'c' }, 'b'],
    ['the label app', { app: 'c' }, 'c'],
    ['the name of the workload', {}, 'front-1'],
  ])('is %s', (_, labels, expected) => {
    expect(canonicalName(pod({ labels }))).toBe(expected);
  });

  it.each([
    [{ 'service.istio.io/canonical-revision': 'v3', version: 'v1' }, 'v3'],
    [{ 'app.kubernetes.io/version': 'v2', version: 'v1' }, 'v2'],
    [{ version: 'v1' }, 'v1'],
    [{}, 'latest'],
  ])('has the revision of %j', (labels, expected) => {
    expect(canonicalRevision(pod({ labels }))).toBe(expected);
  });

  it.each([
    [
      'Deployment',
      {
        labels: { 'pod-template-hash': '5d4f' },
        ownerReferences: [{ kind: 'ReplicaSet', name: 'front-5d4f', controller: true }],
      },
      'front',
    ],
    [
      'ReplicaSet without template',
      { ownerReferences: [{ kind: 'ReplicaSet', name: 'front-5d4f', controller: true }] },
      'front-5d4f',
    ],
    ['StatefulSet', { ownerReferences: [{ kind: 'StatefulSet', name: 'db', controller: true }] }, 'db'],
    ['CronJob', { ownerReferences: [{ kind: 'Job', name: 'night-28000000', controller: true }] }, 'night'],
    ['owner that does not control it', { ownerReferences: [{ kind: 'Node', name: 'n' }] }, 'front-1'],
    ['label', { labels: { 'service.istio.io/workload-name': 'w' } }, 'w'],
  ])('of the workload comes from the %s', (_, metadata, expected) => {
    expect(workloadName(pod(metadata))).toBe(expected);
  });
});

describe('a service', () => {
  const translate = (object: ServiceObject, labels = {}) =>
    translateService(object, viewOf([namespace(labels)])).services[0];

  it('has its host name, addresses and ports', () => {
    expect(
      translate(service({ clusterIPs: ['10.96.0.1', 'FD00:0::9'], ipFamilies: ['IPv4', 'IPv6'] })),
    ).toMatchObject({
      name: 'front',
      namespace: 'shop',
      hostname: 'front.shop.svc.cluster.local',
      addresses: [
        { network: '', address: '10.96.0.1' },
        { network: '', address: 'fd00::9' },
      ],
      ports: [{ servicePort: 80, targetPort: 0 }],
      ipFamilies: 'DUAL',
      canonical: true,
    });
  });

  it('without addresses is headless', () => {
    expect(translate(service({ clusterIP: 'None' }))?.addresses).toEqual([]);
  });

  it('of type ExternalName is none', () => {
    expect(translate(service({ type: 'ExternalName' }))).toBeUndefined();
  });

  it.each([
    ['appProtocol', { appProtocol: 'kubernetes.io/h2c', name: 'http' }, 'HTTP2'],
    ['its name', { name: 'http-web' }, 'HTTP11'],
    ['its whole name', { name: 'grpc' }, 'GRPC'],
    ['an unknown appProtocol', { appProtocol: 'mysql', name: 'http' }, 'UNKNOWN'],
    ['nothing', {}, 'UNKNOWN'],
  ])('takes the protocol of a port from %s', (_, port, expected) => {
    expect(translate(service({ ports: [{ port: 80, ...port }] }))?.ports[0]?.appProtocol).toBe(expected);
  });

  it.each([
    [{}, { mode: 'UNSPECIFIED_MODE', routingPreference: [], healthPolicy: 'ONLY_HEALTHY' }],
    [{ internalTrafficPolicy: 'Local' }, { mode: 'STRICT', routingPreference: ['NODE'] }],
    [
      { trafficDistribution: 'PreferClose' },
      { mode: 'FAILOVER', routingPreference: ['NETWORK', 'REGION', 'ZONE'] },
    ],
    [
      { trafficDistribution: 'PreferSameNode' },
      { mode: 'FAILOVER', routingPreference: ['NETWORK', 'REGION', 'ZONE', 'SUBZONE', 'NODE'] },
    ],
    [{ publishNotReadyAddresses: true }, { healthPolicy: 'ALLOW_ALL' }],
  ])('balances as %j says', (spec, expected) => {
    expect(translate(service(spec))?.loadBalancing).toMatchObject(expected);
  });

  it.each([
    ['no label', {}, {}, undefined],
    [
      'its own label',
      { 'istio.io/use-waypoint': 'w' },
      { 'istio.io/use-waypoint': 'x' },
      'w.shop.svc.cluster.local',
    ],
    ["its namespace's label", {}, { 'istio.io/use-waypoint': 'x' }, 'x.shop.svc.cluster.local'],
    [
      'a label that opts out',
      { 'istio.io/use-waypoint': 'none' },
      { 'istio.io/use-waypoint': 'x' },
      undefined,
    ],
    [
      'a waypoint elsewhere',
      { 'istio.io/use-waypoint': 'w', 'istio.io/use-waypoint-namespace': 'infra' },
      {},
      'w.infra.svc.cluster.local',
    ],
  ])('names its waypoint by %s', (_, labels, namespaceLabels, expected) => {
    const destination = translate(service({}, { labels }), namespaceLabels)?.waypoint?.destination;
    expect(destination?.kind === 'hostname' ? destination.hostname : undefined).toBe(expected);
  });
});

describe('a translated mesh', () => {
  it('survives being written to a state file and read again', () => {
    const word = fc.stringMatching(/^[a-z][a-z0-9]{0,8}$/);
    const pods = fc.uniqueArray(
      fc.record({
        name: word,
        app: word,
        meshed: fc.boolean(),
        ready: fc.boolean(),
        host: fc.integer({ min: 1, max: 250 }),
      }),
      { selector: ({ name }) => name, maxLength: 8 },
    );
    const services = fc.uniqueArray(
      fc.record({ name: word, app: word, port: fc.integer({ min: 1, max: 65535 }), local: fc.boolean() }),
      { selector: ({ name }) => name, maxLength: 5 },
    );
    fc.assert(
      fc.property(pods, services, (podShapes, serviceShapes) => {
        const objects = clusterObjects([
          namespace(),
          ...podShapes.map(({ name, app, meshed, ready, host }) =>
            pod(
              { name, labels: { app, ...(meshed ? ambient : {}) }, annotations: meshed ? held : {} },
              {},
              {
                podIPs: [{ ip: `10.0.0.${host}` }, { ip: `fd00::${host}` }],
                conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
              },
            ),
          ),
          ...serviceShapes.map(({ name, app, port, local }) =>
            service(
              {
                selector: { app },
                ports: [{ port, targetPort: 'http', name: 'http' }],
                internalTrafficPolicy: local ? 'Local' : 'Cluster',
              },
              { name },
            ),
          ),
        ]);
        const mesh = translateMesh(objects);
        const read = parseStateFile(stateText({ ...mesh, policies: [] }));
        expect(read.problems).toEqual([]);
        expect(read.resources).toEqual(mesh);
      }),
    );
  });
});
