import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { analyzeManifests } from '../../../../src/source/analysis/analyze.ts';
import { readManifestSet } from '../../../../src/source/offline/manifest-set.ts';

type Json = Record<string, unknown>;

const ambient = { 'istio.io/dataplane-mode': 'ambient' };
const namespace = (name = 'shop', labels: Json = ambient): Json => ({
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name, labels },
});
const account = (name: string): Json => ({
  apiVersion: 'v1',
  kind: 'ServiceAccount',
  metadata: { name, namespace: 'shop' },
});
const template = (spec: Json = {}, labels: Json = { app: 'front' }, annotations: Json = {}): Json => ({
  metadata: { labels, annotations },
  spec: { containers: [{ name: 'web', ports: [{ name: 'http', containerPort: 8080 }] }], ...spec },
});
const deployment = (...parts: Parameters<typeof template>): Json => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'front', namespace: 'shop' },
  spec: { template: template(...parts) },
});
const service = (spec: Json = {}, labels: Json = {}): Json => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'front', namespace: 'shop', labels },
  spec: { selector: { app: 'front' }, ports: [{ port: 80, targetPort: 'http' }], ...spec },
});
const bypass = { 'ambient.istio.io/bypass-inbound-capture': 'true' };
const policy = (spec: Json, metadata: Json = {}): Json => ({
  apiVersion: 'security.istio.io/v1',
  kind: 'AuthorizationPolicy',
  metadata: { name: 'p', namespace: 'shop', ...metadata },
  spec,
});
const peers = (spec: Json, metadata: Json = {}): Json => ({
  ...policy(spec, metadata),
  kind: 'PeerAuthentication',
});
const waypoint = (name = 'w'): Json => ({
  apiVersion: 'gateway.networking.k8s.io/v1',
  kind: 'Gateway',
  metadata: { name, namespace: 'shop' },
  spec: { gatewayClassName: 'hadal-waypoint', listeners: [{ name: 'm', port: 15008, protocol: 'HBONE' }] },
});
const from = (source: Json) => ({ rules: [{ from: [{ source }] }] });
const to = (operation: Json) => ({ rules: [{ to: [{ operation }] }] });
const front = { selector: { matchLabels: { app: 'front' } } };

function analyze(...documents: readonly Json[]) {
  const directory = mkdtempSync(join(tmpdir(), 'hadal-analyze-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  writeFileSync(join(directory, 'all.yaml'), documents.map((each) => JSON.stringify(each)).join('\n---\n'));
  return analyzeManifests(readManifestSet(directory));
}

/** `error rejected AuthorizationPolicy shop/p spec.action`. */
const brief = (...documents: readonly Json[]) =>
  analyze(...documents).map(({ severity, code, object, field }) =>
    [severity, code, object, field].filter((part) => part !== '').join(' '),
  );

const mesh = [namespace(), deployment(), service()];

describe('what is said about manifests', () => {
  it.each<[string, Json[], string[]]>([
    ['in order: nothing', mesh, []],
    [
      'an object that is rejected',
      [...mesh, policy({ action: 'REFUSE' })],
      ['error rejected AuthorizationPolicy shop/p spec.action'],
    ],
    [
      'a template that is rejected, by its place in the Deployment',
      [namespace(), { ...deployment({ hostNetwork: 'yes' }) }],
      ['error rejected Deployment shop/front spec.template.spec.hostNetwork'],
    ],
    [
      'an object that is written twice',
      [...mesh, service()],
      ['error rejected Service shop/front metadata.name'],
    ],
    [
      'a waypoint that is not there',
      [namespace(), deployment(), service({}, { 'istio.io/use-waypoint': 'w' })],
      ['error waypoint-missing Service shop/front metadata.labels["istio.io/use-waypoint"]'],
    ],
    [
      'a waypoint that is there',
      [namespace(), deployment(), service({}, { 'istio.io/use-waypoint': 'w' }), waypoint()],
      [],
    ],
    [
      "a namespace's waypoint that is not there, said once",
      [namespace('shop', { ...ambient, 'istio.io/use-waypoint': 'w' }), deployment()],
      ['error waypoint-missing Namespace shop metadata.labels["istio.io/use-waypoint"]'],
    ],
    [
      'a service account that is not there',
      [namespace(), deployment({ serviceAccountName: 'front' }), service()],
      ['error account-missing Deployment shop/front spec.serviceAccountName'],
    ],
    [
      'a service account that is there',
      [namespace(), account('front'), deployment({ serviceAccountName: 'front' }), service()],
      [],
    ],
    [
      'a namespace that is not there, once',
      [deployment(), service()],
      ['warning namespace-missing Deployment shop/front metadata.namespace'],
    ],
    [
      'a policy that selects nothing',
      [...mesh, policy({ selector: { matchLabels: { app: 'fornt' } } })],
      ['warning selects-nothing AuthorizationPolicy shop/p spec.selector.matchLabels'],
    ],
    [
      'a PeerAuthentication that selects nothing',
      [...mesh, peers({ selector: { matchLabels: { tier: 'web' } }, mtls: { mode: 'STRICT' } })],
      ['warning selects-nothing PeerAuthentication shop/p spec.selector.matchLabels'],
    ],
    [
      'a service that selects nothing',
      [namespace(), deployment(), service({ selector: { app: 'back' } })],
      ['warning selects-nothing Service shop/front spec.selector'],
    ],
    [
      'a policy of the root namespace that selects pods elsewhere',
      [...mesh, policy(front, { namespace: 'istio-system' })],
      [],
    ],
    [
      'a policy for pods that are not in the mesh',
      [namespace('shop', {}), deployment(), service(), policy(front)],
      ['error selects-outside AuthorizationPolicy shop/p'],
    ],
    [
      'a policy of a namespace that is not in the mesh',
      [namespace('shop', {}), deployment(), service(), policy({})],
      ['error selects-outside AuthorizationPolicy shop/p'],
    ],
    [
      'a port by a name that no pod has',
      [namespace(), deployment(), service({ ports: [{ port: 80, targetPort: 'web' }] })],
      ['error port-missing Service shop/front spec.ports[0].targetPort'],
    ],
    [
      'a port by a number that no pod says it has',
      [namespace(), deployment(), service({ ports: [{ port: 80, targetPort: 8081 }] })],
      ['warning port-missing Service shop/front spec.ports[0].targetPort'],
    ],
    [
      'a policy for the port of the service instead of that of the pod',
      [...mesh, policy({ ...front, ...to({ ports: ['80'] }) })],
      ['warning port-missing AuthorizationPolicy shop/p spec.rules[0].to[0].operation.ports[0]'],
    ],
    ['a policy for the port of the pod', [...mesh, policy({ ...front, ...to({ ports: ['8080'] }) })], []],
    [
      'a condition for a port that no pod has',
      [...mesh, policy({ ...front, rules: [{ when: [{ key: 'destination.port', notValues: ['9'] }] }] })],
      ['warning port-missing AuthorizationPolicy shop/p spec.rules[0].when[0].notValues[0]'],
    ],
    [
      'a PeerAuthentication for a port that no pod has',
      [
        ...mesh,
        peers({ ...front, mtls: { mode: 'STRICT' }, portLevelMtls: { '81': { mode: 'PERMISSIVE' } } }),
      ],
      ['warning port-missing PeerAuthentication shop/p spec.portLevelMtls'],
    ],
    [
      'a policy for a port where a container does not say its ports',
      [
        namespace(),
        deployment({ containers: [{ name: 'web' }] }),
        policy({ ...front, ...to({ ports: ['80'] }) }),
      ],
      [],
    ],
    [
      'a policy that agents take more strictly',
      [...mesh, policy({ ...front, ...to({ paths: ['/x'] }) })],
      ['warning policy-stricter AuthorizationPolicy shop/p spec.rules[0]'],
    ],
    [
      'a policy that nobody enforces',
      [...mesh, policy({ ...front, action: 'CUSTOM', provider: { name: 'x' } })],
      ['error policy-not-enforced AuthorizationPolicy shop/p spec.action'],
    ],
    [
      'a policy whose target is not there',
      [...mesh, policy({ targetRefs: [{ kind: 'Gateway', name: 'w' }] })],
      ['error policy-not-enforced AuthorizationPolicy shop/p spec.targetRefs[0]'],
    ],
    [
      'a PeerAuthentication that is disabled',
      [...mesh, peers({ mtls: { mode: 'DISABLE' } })],
      ['warning taken-otherwise PeerAuthentication shop/p spec.mtls.mode'],
    ],
    [
      'a second PeerAuthentication of a namespace',
      [...mesh, peers({}, { name: 'a' }), peers({}, { name: 'b' })],
      ['warning policy-shadowed PeerAuthentication shop/b'],
    ],
    [
      'a pod that lets connections in clear past a policy that selects it',
      [
        namespace(),
        account('default'),
        deployment({}, { app: 'front' }, bypass),
        service(),
        policy({ ...front, ...from({ namespaces: ['shop'] }) }),
      ],
      [
        'warning policy-bypassed Deployment shop/front metadata.annotations["ambient.istio.io/bypass-inbound-capture"]',
      ],
    ],
    [
      'a pod that takes a port out of the capture, past a policy that selects it',
      [
        namespace(),
        account('default'),
        deployment({}, { app: 'front' }, { 'traffic.sidecar.istio.io/excludeInboundPorts': '80' }),
        service(),
        policy({ ...front, ...from({ namespaces: ['shop'] }) }),
      ],
      [
        'warning policy-bypassed Deployment shop/front metadata.annotations["traffic.sidecar.istio.io/excludeInboundPorts"]',
      ],
    ],
    [
      'an annotation of capture that cannot be read',
      [
        namespace(),
        deployment({}, { app: 'front' }, { 'traffic.sidecar.istio.io/excludeOutboundPorts': '80,http' }),
        service(),
      ],
      [
        'warning taken-otherwise Deployment shop/front metadata.annotations["traffic.sidecar.istio.io/excludeOutboundPorts"]',
      ],
    ],
    [
      'a pod that lets connections in clear past the strictness of its namespace',
      [namespace(), deployment({}, { app: 'front' }, bypass), service(), peers({ mtls: { mode: 'STRICT' } })],
      [
        'warning policy-bypassed Deployment shop/front metadata.annotations["ambient.istio.io/bypass-inbound-capture"]',
      ],
    ],
    [
      'a pod that lets connections in clear in, past nothing',
      [
        namespace(),
        deployment({}, { app: 'front' }, bypass),
        service(),
        policy({ selector: { matchLabels: { app: 'other' } } }),
        peers({ mtls: { mode: 'PERMISSIVE' } }),
      ],
      ['warning selects-nothing AuthorizationPolicy shop/p spec.selector.matchLabels'],
    ],
    [
      'a caller of a namespace that is not there',
      [...mesh, policy({ ...front, ...from({ namespaces: ['bank'] }) })],
      ['warning reference-unknown AuthorizationPolicy shop/p spec.rules[0].from[0].source.namespaces[0]'],
    ],
    [
      'a caller with an account that is not there',
      [...mesh, policy({ ...front, ...from({ serviceAccounts: ['fornt'] }) })],
      [
        'warning reference-unknown AuthorizationPolicy shop/p spec.rules[0].from[0].source.serviceAccounts[0]',
      ],
    ],
    [
      'a principal that is no identity',
      [...mesh, policy({ ...front, ...from({ principals: ['front'] }) })],
      ['warning reference-unknown AuthorizationPolicy shop/p spec.rules[0].from[0].source.principals[0]'],
    ],
    [
      'a principal of another trust domain',
      [...mesh, policy({ ...front, ...from({ notPrincipals: ['td2/ns/shop/sa/default'] }) })],
      ['warning reference-unknown AuthorizationPolicy shop/p spec.rules[0].from[0].source.notPrincipals[0]'],
    ],
    [
      'a principal that is there, and patterns',
      [
        ...mesh,
        policy({ ...front, ...from({ principals: ['cluster.local/ns/shop/sa/default', 'x*', '*'] }) }),
      ],
      [],
    ],
    [
      'a mode of the data plane that is none',
      [namespace('shop', { 'istio.io/dataplane-mode': 'ambiant' }), deployment(), service()],
      ['error label-value Namespace shop metadata.labels["istio.io/dataplane-mode"]'],
    ],
    [
      'a label that is misspelt',
      [namespace('shop', { ...ambient, 'istio.io/use-waypont': 'w' }), deployment(), service()],
      ['warning label-unknown Namespace shop metadata.labels["istio.io/use-waypont"]'],
    ],
    [
      'a label of a misspelt domain',
      [namespace('shop', { 'istoi.io/dataplane-mode': 'ambient' }), deployment(), service()],
      ['warning label-unknown Namespace shop metadata.labels["istoi.io/dataplane-mode"]'],
    ],
    [
      'a label that is written as an annotation',
      [namespace(), deployment({}, { app: 'front' }, ambient), service()],
      ['warning label-unknown Deployment shop/front metadata.annotations["istio.io/dataplane-mode"]'],
    ],
    [
      'a dry run that is none',
      [...mesh, policy(front, { annotations: { 'istio.io/dry-run': 'yes' } })],
      ['warning label-value AuthorizationPolicy shop/p metadata.annotations["istio.io/dry-run"]'],
    ],
    [
      "somebody else's labels",
      [
        namespace(),
        deployment({}, { app: 'front', 'app.kubernetes.io/name': 'x', 'example.com/mode': 'y' }),
        service(),
      ],
      [],
    ],
    [
      'a service of UDP alone',
      [namespace(), deployment(), service({ ports: [{ port: 53, protocol: 'UDP' }] })],
      ['warning udp-only Service shop/front spec.ports'],
    ],
    [
      'a service of UDP and TCP',
      [
        namespace(),
        deployment(),
        service({
          ports: [
            { port: 53, protocol: 'UDP' },
            { port: 80, targetPort: 8080 },
          ],
        }),
      ],
      [],
    ],
    [
      'a service of UDP outside the mesh',
      [namespace('shop', {}), deployment(), service({ ports: [{ port: 53, protocol: 'UDP' }] })],
      [],
    ],
    [
      'a pod of gVisor',
      [namespace(), deployment({ runtimeClassName: 'gvisor' }), service()],
      ['warning not-captured Deployment shop/front spec.runtimeClassName'],
    ],
    [
      'a pod of Kata',
      [namespace(), deployment({ runtimeClassName: 'kata-qemu' }), service()],
      ['warning not-captured Deployment shop/front spec.runtimeClassName'],
    ],
    [
      "a pod in the host's network",
      [namespace(), deployment({ hostNetwork: true }), service()],
      ['warning not-captured Deployment shop/front spec.hostNetwork'],
    ],
    [
      'a pod of gVisor that opted out',
      [
        namespace(),
        deployment({ runtimeClassName: 'gvisor' }, { app: 'front', 'istio.io/dataplane-mode': 'none' }),
        service(),
      ],
      [],
    ],
  ])('%s', (_, documents, expected) => {
    expect(brief(...documents)).toEqual(expected);
  });

  it('says what is there instead of what was looked for', () => {
    const [miss] = analyze(...mesh, policy({ selector: { matchLabels: { app: 'fornt' } } }));
    expect(miss?.message).toBe('selects nothing: the label app has only the values front');
    const [port] = analyze(...mesh, policy({ ...front, ...to({ ports: ['80'] }) }));
    expect(port?.message).toBe('80 is a port of Service shop/front; policies see the port of the pod, http');
    const [mode] = analyze(namespace('shop', { 'istio.io/dataplane-mode': 'ambiant' }));
    expect(mode?.message).toBe(
      'is "ambiant", which means nothing; ambient or none is meant, probably ambient',
    );
  });

  it.each(['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet'])('reads the pods of a %s', (kind) => {
    expect(brief(namespace(), { ...deployment({ runtimeClassName: 'gvisor' }), kind })).toEqual([
      `warning not-captured ${kind} shop/front spec.runtimeClassName`,
    ]);
  });

  it('reads the pods of a Job and of a CronJob', () => {
    const metadata = { name: 'night', namespace: 'shop' };
    const spec = { template: template({ runtimeClassName: 'gvisor' }) };
    const job = { apiVersion: 'batch/v1', kind: 'Job', metadata, spec };
    const cron = { ...job, kind: 'CronJob', spec: { schedule: '@daily', jobTemplate: { spec } } };
    const field = 'spec.runtimeClassName';
    expect(brief(namespace(), job)).toEqual([`warning not-captured Job shop/night ${field}`]);
    expect(brief(namespace(), cron)).toEqual([`warning not-captured CronJob shop/night ${field}`]);
  });
});
