/** Whether connections between two pods of one node go through a tunnel all the same, or by the kernel alone. */

export const sameNodeModes = ['tunnel', 'direct'] as const;
export type SameNodeMode = (typeof sameNodeModes)[number];

/** What somebody said of a workload, and where: a workload's own word counts before its namespace's. */
export interface SameNodeWish {
  readonly mode: SameNodeMode;
  readonly from: 'workload' | 'namespace';
}

const workloadExtension = 'hadal.workload.v1.SameNode';
const meshExtension = 'hadal.mesh.v1.SameNode';

export function isSameNodeMode(text: string): text is SameNodeMode {
  return (sameNodeModes as readonly string[]).includes(text);
}

/** As an extension of a workload; whoever does not know it loses a shortcut, or a wish to take none, and no policy. */
export function sameNodeExtension({ mode, from }: SameNodeWish): string {
  return `${workloadExtension}/${mode}/${from}`;
}

export function sameNodeWish(workload: { readonly extensions: readonly string[] }): SameNodeWish | undefined {
  for (const extension of workload.extensions) {
    const [kind, mode = '', from, ...more] = extension.split('/');
    if (kind !== workloadExtension || more.length > 0 || !isSameNodeMode(mode)) continue;
    if (from === 'workload' || from === 'namespace') return { mode, from };
  }
  return undefined;
}

/** As an extension of the mesh's settings. */
export function meshSameNodeExtension(mode: SameNodeMode): string {
  return `${meshExtension}/${mode}`;
}

export function meshSameNodeMode(extensions: readonly string[]): SameNodeMode | undefined {
  return extensions
    .map((extension) => extension.split('/'))
    .filter(([kind, , ...more]) => kind === meshExtension && more.length === 0)
    .map(([, mode = '']) => mode)
    .find(isSameNodeMode);
}
