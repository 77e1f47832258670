/** Writes what the agents and the pods read: the state file of the mesh, and each pod's hosts, resolv.conf and token. */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { MeshResources } from '../model/snapshot.ts';
import type { ServiceObject } from '../source/kubernetes/service.ts';
import { policyDocument, stateText } from '../source/state-document.ts';
import type { MeshNames } from '../source/translate/context.ts';
import { translateMesh } from '../source/translate/mesh.ts';
import { apiObjects } from './api-objects.ts';
import type { Cluster } from './cluster.ts';
import type { ClusterFiles } from './cluster-files.ts';
import type { KubeProxy } from './kube-proxy.ts';
import { hostsFile, resolvConf } from './name-files.ts';
import { type NameTable, nameTable } from './name-table.ts';
import type { LabNode } from './node.ts';
import type { LabPod } from './pod.ts';
import { writePodFiles } from './pod-root.ts';
import type { TokenSigner } from './service-account-token.ts';

export interface PublisherOptions {
  readonly cluster: Cluster;
  readonly names: MeshNames;
  readonly stateFile: string;
  readonly tokens: TokenSigner;
  readonly nodes: ReadonlyMap<string, LabNode>;
  /** Makes service addresses lead somewhere from outside the mesh. */
  readonly kubeProxy: KubeProxy;
  /** What a control plane reads instead of the state file. */
  readonly files: ClusterFiles | undefined;
  readonly serviceRanges: readonly string[];
}

/** Long enough for what happens together, far shorter than the two seconds a label may take. */
const settleMs = 30;

export class Publisher {
  readonly #options: PublisherOptions;
  readonly outside: { readonly name: string; readonly addresses: readonly string[] }[] = [];
  /** `istio.security.Authorization` in JSON form, beside what the manifests say. */
  policies: readonly unknown[] = [];
  /** What was published last. */
  mesh: MeshResources = { workloads: [], services: [], policies: [] };
  #services: readonly ServiceObject[] = [];
  #inMesh: ReadonlySet<string> = new Set();
  /** By whether service addresses lead anywhere; made when somebody asks. */
  readonly #tables = new Map<boolean, NameTable>();
  #written = '';
  #timer: NodeJS.Timeout | undefined;

  constructor(options: PublisherOptions) {
    this.#options = options;
    mkdirSync(dirname(options.stateFile), { recursive: true });
  }

  /** Writes the state file and the names that every pod sees. */
  publish(pods: Iterable<LabPod>): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const { cluster, names, files, nodes, kubeProxy, serviceRanges } = this.#options;
    const objects = cluster.objects();
    const mesh = translateMesh(objects, names);
    files?.write(apiObjects(objects, nodes.values(), serviceRanges));
    if (files === undefined) this.#writeState(mesh);
    this.mesh = mesh;
    const all = [...pods];
    kubeProxy.update(nodes.values(), all, mesh);
    this.#services = objects.services;
    this.#tables.clear();
    this.#inMesh = new Set(all.filter((pod) => pod.enrolled).flatMap(({ addresses }) => addresses));
    for (const pod of all) this.#writeFiles(pod);
  }

  /** The names as the nameserver tells them to whoever asks from this address. */
  namesFor(asker: string): NameTable {
    const serviceAddresses = this.#inMesh.has(asker) || this.#options.kubeProxy.works;
    const known = this.#tables.get(serviceAddresses);
    if (known !== undefined) return known;
    const { names } = this.#options;
    const services = this.#services;
    const table = nameTable(this.mesh, { names, services, serviceAddresses, outside: this.outside });
    this.#tables.set(serviceAddresses, table);
    return table;
  }

  /** The same, a moment later and once for all that changes meanwhile. */
  publishSoon(pods: () => Iterable<LabPod>): void {
    this.#timer ??= setTimeout(() => this.publish(pods()), settleMs);
  }

  /** The files of a pod that is being made, before anybody else knows of it. */
  prepare(pod: LabPod): void {
    this.#writeFiles(pod);
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #writeState(mesh: MeshResources): void {
    const { stateFile } = this.#options;
    const text = stateText({ ...mesh, policies: [...mesh.policies.map(policyDocument), ...this.policies] });
    if (text === this.#written) return;
    writeFileSync(`${stateFile}.new`, text, { mode: 0o600 });
    renameSync(`${stateFile}.new`, stateFile);
    this.#written = text;
  }

  #writeFiles(pod: LabPod): void {
    const { names, nodes, tokens } = this.#options;
    // A host beyond the cluster has no node of its own; every nameserver knows the same.
    const node = nodes.get(pod.node) ?? [...nodes.values()][0];
    writePodFiles(pod.plan.layout.directory, {
      hosts: hostsFile,
      resolvConf: resolvConf(pod.namespace, names.clusterDomain, node?.address.v4 ?? '127.0.0.1'),
      token: tokens.tokenFor(pod),
      namespace: pod.namespace,
    });
  }
}
