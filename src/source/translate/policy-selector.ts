type Selecting = {
  readonly spec: { readonly selector: { readonly matchLabels: Readonly<Record<string, string>> } };
};

/** Whether a policy is for workloads with certain labels, not for its whole namespace. */
export function hasSelector({ spec }: Selecting): boolean {
  return Object.keys(spec.selector.matchLabels).length > 0;
}
