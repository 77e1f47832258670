import type { Command } from 'commander';

export interface NamespaceChoice {
  readonly namespace?: string;
}

interface Placed {
  readonly namespace: string;
  readonly name: string;
}

export function addNamespaceOption(command: Command): Command {
  return command.option('-n, --namespace <name>', 'only of this namespace');
}

export function isIn({ namespace: wanted }: NamespaceChoice): (row: Placed) => boolean {
  return ({ namespace }) => wanted === undefined || namespace === wanted;
}

/** By namespace, then by name. */
export function byPlace(left: Placed, right: Placed): number {
  const [one, other] = [`${left.namespace}/${left.name}`, `${right.namespace}/${right.name}`];
  return one < other ? -1 : Number(one > other);
}
