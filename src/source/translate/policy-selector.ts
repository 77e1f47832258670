type Selecting = { readonly spec: { readonly selector: Readonly<Record<string, string>> } };

/** Whether a policy is for workloads with certain labels, not for its whole namespace. */
export function hasSelector({ spec }: Selecting): boolean {
  return Object.keys(spec.selector).length > 0;
}
