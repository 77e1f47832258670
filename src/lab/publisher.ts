/** Writes what the agents and the pods read: the state file of the mesh, and each pod's hosts, resolv.conf and token. */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { MeshResources } from '../model/snapshot.ts';
import { stateText } from '../source/state-document.ts';
import type { MeshNames } from '../source/translate/context.ts';
import { enrolmentWish } from '../source/translate/enrolment.ts';
import { translateMesh } from '../source/translate/mesh.ts';
import type { Cluster } from './cluster.ts';
import { hostsFile, resolvConf } from './name-files.ts';
import type { LabPod } from './pod.ts';
import { writePodFiles } from './pod-root.ts';
import type { TokenSigner } from './service-account-token.ts';

export interface PublisherOptions {
  readonly cluster: Cluster;
  readonly names: MeshNames;
  readonly stateFile: string;
  readonly tokens: TokenSigner;
  /** Whether a pod outside the mesh gets anywhere by a service address. */
  readonly serviceAddressesOutsideMesh: boolean;
}

export class Publisher {
  readonly #options: PublisherOptions;
  readonly outside: { readonly name: string; readonly addresses: readonly string[] }[] = [];
  /** `istio.security.Authorization` in JSON form, beside what the manifests say. */
  policies: readonly unknown[] = [];
  #written = '';

  constructor(options: PublisherOptions) {
    this.#options = options;
    mkdirSync(dirname(options.stateFile), { recursive: true });
  }

  publish(pods: Iterable<LabPod>): MeshResources {
    const { cluster, names, stateFile } = this.#options;
    const objects = cluster.objects();
    const mesh = translateMesh(objects, names);
    const text = stateText({ ...mesh, policies: this.policies });
    if (text !== this.#written) {
      writeFileSync(`${stateFile}.new`, text, { mode: 0o600 });
      renameSync(`${stateFile}.new`, stateFile);
      this.#written = text;
    }
    for (const pod of pods) {
      const { object, layout } = pod.plan;
      const meshed = enrolmentWish(object, objects.namespaces.get(pod.namespace)).wanted;
      writePodFiles(layout.directory, {
        hosts: hostsFile(mesh, {
          namespace: pod.namespace,
          serviceAddresses: meshed || this.#options.serviceAddressesOutsideMesh,
          outside: this.outside,
        }),
        resolvConf: resolvConf(pod.namespace, names.clusterDomain),
        token: this.#options.tokens.tokenFor(pod),
        namespace: pod.namespace,
      });
    }
    return mesh;
  }
}
