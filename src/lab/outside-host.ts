/** A machine beyond the cluster: on the fabric, with an address outside the pod and service ranges, never in the mesh. */
import { z } from 'zod';
import type { OtherObject } from '../source/directory/manifest-directory.ts';
import { labelName } from '../source/kubernetes/metadata.ts';

/** The lab's own kinds; nothing else reads them. */
export const labApiVersion = 'lab.hadal.io/v1alpha1';

const outsideHost = z.object({
  metadata: z.object({ name: labelName }),
  spec: z.object({
    command: z.array(z.string()).default([]),
    env: z.array(z.object({ name: z.string(), value: z.string() })).default([]),
  }),
});

export interface OutsideHost {
  readonly name: string;
  readonly command: readonly string[];
  readonly env: readonly { readonly name: string; readonly value: string }[];
}

export function outsideHosts(others: readonly OtherObject[]): OutsideHost[] {
  return others.flatMap((other) => {
    if (other.apiVersion !== labApiVersion || other.objectKind !== 'OutsideHost') return [];
    const parsed = outsideHost.safeParse(other.value);
    return parsed.success ? [{ name: parsed.data.metadata.name, ...parsed.data.spec }] : [];
  });
}
