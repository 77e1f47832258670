/**
 * The part that an API server has in a cluster: it holds the objects, gives services their addresses, and keeps the
 * status that kubelets report. What it hands out is what a Kubernetes source would read.
 */
import { HadalError } from '../base/errors.ts';
import { readDocuments } from '../source/directory/documents.ts';
import type { Manifests } from '../source/directory/manifest-directory.ts';
import { objectKey } from '../source/kubernetes/metadata.ts';
import { describeRejection, type KnownObject, parseDocument } from '../source/kubernetes/objects.ts';
import type { PodObject } from '../source/kubernetes/pod.ts';
import { clusterAddresses, isHeadless, type ServiceObject } from '../source/kubernetes/service.ts';
import { redirectionAnnotation } from '../source/translate/enrolment.ts';
import { type ClusterObjects, clusterObjects } from '../source/translate/mesh.ts';
import { serviceAddress } from './address-plan.ts';

/** What a kubelet reports of one pod. */
export interface PodStatus {
  readonly addresses: readonly string[];
  readonly ready: boolean;
  /** Held by the agent of its node. */
  readonly enrolled: boolean;
}

type Labels = Record<string, string | undefined>;
export type LabelledKind = 'Pod' | 'Namespace' | 'Service';

export class Cluster {
  readonly #slot: number;
  #written: readonly KnownObject[] = [];
  readonly #applied = new Map<string, KnownObject>();
  readonly #deleted = new Set<string>();
  readonly #labels = new Map<string, Labels>();
  readonly #status = new Map<string, PodStatus>();
  readonly #serviceIndexes = new Map<string, number>();

  constructor(slot: number) {
    this.#slot = slot;
  }

  /** What the directory holds now. */
  setManifests(manifests: Manifests): void {
    this.#written = manifests.objects;
  }

  /** Objects from text, as `kubectl apply` would take them; all or none. Returns what was applied. */
  apply(text: string): KnownObject[] {
    const { documents, rejections } = readDocuments('applied', text);
    const parsed = documents.map(parseDocument);
    const refused = [
      ...rejections,
      ...parsed.flatMap((one) => (one.kind === 'rejected' ? one.rejections : [])),
    ];
    if (refused.length > 0) {
      throw new HadalError('ERR_LAB_MANIFEST', refused.map(describeRejection).join('\n'));
    }
    const objects = parsed.flatMap((one) => (one.kind === 'object' ? [one.object] : []));
    for (const object of objects) {
      this.#applied.set(kindKey(object), object);
      this.#deleted.delete(kindKey(object));
    }
    return objects;
  }

  delete(kind: KnownObject['kind'], key: string): void {
    this.#applied.delete(`${kind}/${key}`);
    this.#deleted.add(`${kind}/${key}`);
  }

  /** Sets labels over what is written, as `kubectl label` would; undefined takes one away. */
  label(kind: LabelledKind, key: string, labels: Labels): void {
    const id = `${kind}/${key}`;
    this.#labels.set(id, { ...this.#labels.get(id), ...labels });
  }

  setStatus(pod: string, status: PodStatus | undefined): void {
    if (status === undefined) this.#status.delete(pod);
    else this.#status.set(pod, status);
  }

  objects(): ClusterObjects {
    const byKey = new Map(this.#written.map((object) => [kindKey(object), object]));
    for (const [key, object] of this.#applied) byKey.set(key, object);
    for (const key of this.#deleted) byKey.delete(key);
    const plain = clusterObjects([...byKey.entries()].map(([key, object]) => this.#labelled(key, object)));
    return {
      ...plain,
      pods: plain.pods.map((pod) => this.#withStatus(pod)),
      services: plain.services.map((service) => this.#withAddresses(service)),
    };
  }

  #labelled(key: string, object: KnownObject): KnownObject {
    const changes = this.#labels.get(key);
    if (changes === undefined) return object;
    const merged = Object.entries({ ...object.metadata.labels, ...changes });
    const labels = Object.fromEntries(
      merged.filter((entry): entry is [string, string] => entry[1] !== undefined),
    );
    return { ...object, metadata: { ...object.metadata, labels } } as KnownObject;
  }

  #withStatus(pod: PodObject): PodObject {
    const status = this.#status.get(objectKey(pod));
    // The status of a manifest is a copy from somewhere else.
    if (status === undefined) return { ...pod, status: { phase: 'Pending', podIPs: [], conditions: [] } };
    const annotations = { ...pod.metadata.annotations };
    delete annotations[redirectionAnnotation];
    if (status.enrolled) annotations[redirectionAnnotation] = 'enabled';
    return {
      ...pod,
      metadata: { ...pod.metadata, annotations },
      status: {
        phase: 'Running',
        podIP: status.addresses[0],
        podIPs: status.addresses.map((ip) => ({ ip })),
        conditions: [{ type: 'Ready', status: status.ready ? 'True' : 'False' }],
      },
    };
  }

  /** Addresses stay with a name as long as the lab runs, so that rows and hosts files do not turn stale for nothing. */
  #withAddresses(service: ServiceObject): ServiceObject {
    if (isHeadless(service) || service.spec.type === 'ExternalName' || clusterAddresses(service).length > 0)
      return service;
    const key = objectKey(service);
    const index = this.#serviceIndexes.get(key) ?? this.#serviceIndexes.size;
    this.#serviceIndexes.set(key, index);
    const { v4, v6 } = serviceAddress(this.#slot, index);
    const wanted = service.spec.ipFamilies;
    const clusterIPs = wanted.length === 0 ? [v4, v6] : wanted.map((family) => (family === 'IPv4' ? v4 : v6));
    return { ...service, spec: { ...service.spec, clusterIP: clusterIPs[0], clusterIPs } };
  }
}

export function kindKey(object: KnownObject): string {
  return object.kind === 'Namespace'
    ? `Namespace/${object.metadata.name}`
    : `${object.kind}/${objectKey(object)}`;
}
