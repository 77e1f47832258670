/** Who goes first when two objects claim one name: the older one, then the one whose id is first. */
export interface Claimant {
  /** RFC 3339 in UTC, as the API server writes it: its order is that of time. */
  readonly createdAt: string | undefined;
  readonly id: string;
}

/** An object that does not say when it was made gives way to one that does. */
export function comparePrecedence(left: Claimant, right: Claimant): number {
  if (left.createdAt !== right.createdAt) {
    if (left.createdAt === undefined) return 1;
    if (right.createdAt === undefined) return -1;
    return left.createdAt < right.createdAt ? -1 : 1;
  }
  return left.id < right.id ? -1 : left.id > right.id ? 1 : 0;
}
