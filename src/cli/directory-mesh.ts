import { createSnapshot, type MeshSnapshot } from '../model/snapshot.ts';
import { explainInMesh } from '../routing/explain-in-mesh.ts';
import { dumpPolicies, dumpServices, dumpWorkloads } from '../runtime/mesh-dump.ts';
import { describeRejection } from '../source/kubernetes/objects.ts';
import { asRunning } from '../source/offline/as-running.ts';
import { readManifestSet } from '../source/offline/manifest-set.ts';
import { withPlaceholders } from '../source/placeholder.ts';
import { podCaptureSettings } from '../source/translate/capture-settings.ts';
import { defaultMeshNames } from '../source/translate/context.ts';
import { translateObjects } from '../source/translate/mesh.ts';
import { translateMeshSettings } from '../source/translate/mesh-settings.ts';
import { viewOf } from '../source/translate/object-view.ts';
import { podWorkloadUid } from '../source/translate/pod.ts';
import type { MeshReader } from './mesh-choice.ts';

export interface DirectoryMesh {
  readonly mesh: MeshReader;
  /** What was left out, and why. */
  readonly notes: readonly string[];
}

/** The mesh that the manifests of a directory make. */
export function openDirectoryMesh(directory: string): DirectoryMesh {
  const { objects, rejections, placeholders } = readManifestSet(directory);
  const running = asRunning(objects.map(({ object }) => object));
  const { workloads, services: ofObjects, policies } = translateObjects(running);
  const settings = translateMeshSettings(viewOf(running));
  const services = [...ofObjects, ...(settings.services ?? [])];
  const captures = new Map(
    running
      .filter((object) => object.kind === 'Pod')
      .map((pod) => [podWorkloadUid(defaultMeshNames, pod.metadata), podCaptureSettings(pod)]),
  );
  const snapshot = createSnapshot({ workloads, services, policies });
  const dumps = {
    workloads: dumpWorkloads,
    services: dumpServices,
    policies: (mesh: MeshSnapshot) => withPlaceholders(dumpPolicies(mesh), placeholders),
  };
  return {
    mesh: {
      read: async <T>(sections: readonly (keyof typeof dumps)[]) =>
        Object.fromEntries(sections.map((name) => [name, dumps[name](snapshot)])) as T,
      explain: async (source, destination) =>
        explainInMesh(snapshot, defaultMeshNames, source, destination, {
          bypassesInbound: (uid) => captures.get(uid)?.bypassInbound ?? false,
          exclusions: (uid) => captures.get(uid)?.exclusions,
        }),
    },
    notes: rejections.map((rejection) => `rejected: ${describeRejection(rejection)}`),
  };
}
