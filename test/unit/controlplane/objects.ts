/** Objects as a source tells them, made through the real parser. */

import { type KnownObject, parseDocument } from '../../../src/source/kubernetes/objects.ts';
import type { PodObject } from '../../../src/source/kubernetes/pod.ts';
import type { ServiceObject } from '../../../src/source/kubernetes/service.ts';
import type { SourceObject } from '../../../src/source/object-source.ts';

export function sourceObject(value: unknown): SourceObject {
  const parsed = parseDocument({ origin: { file: 'test', document: 1, line: 1 }, value });
  if (parsed.kind !== 'object') throw new Error(`not an object: ${JSON.stringify(parsed)}`);
  return { id: parsed.key, object: parsed.object };
}

const typed = <T extends KnownObject>(value: unknown) => sourceObject(value).object as T;

export interface PodFields {
  readonly labels?: Record<string, string>;
  readonly annotations?: Record<string, string>;
  readonly ready?: boolean;
  readonly created?: string | undefined;
  readonly addresses?: readonly string[];
  readonly node?: string;
}

export function pod(namespace: string, name: string, fields: PodFields): PodObject {
  const { labels = {}, annotations = {}, ready = true, created, addresses = [], node = 'n1' } = fields;
  return typed({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace, name, labels, annotations, creationTimestamp: created },
    spec: { nodeName: node, containers: [{ name: 'main', ports: [{ name: 'web', containerPort: 8080 }] }] },
    status: {
      phase: 'Running',
      podIPs: addresses.map((ip) => ({ ip })),
      conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
    },
  });
}

export interface ServiceFields {
  readonly selector?: Record<string, string>;
  readonly created?: string | undefined;
  readonly port?: number;
}

export function service(namespace: string, name: string, fields: ServiceFields): ServiceObject {
  const { selector = { app: name }, created, port = 80 } = fields;
  return typed({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace, name, creationTimestamp: created },
    spec: { clusterIP: '10.96.0.1', selector, ports: [{ port, targetPort: 'web' }] },
  });
}

export function namespace(name: string, isAmbient: boolean): KnownObject {
  const labels = isAmbient ? { 'istio.io/dataplane-mode': 'ambient' } : {};
  return typed({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } });
}
