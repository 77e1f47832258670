/**
 * Whether a response is the last of a push. Delta discovery does not say it: Istio's control plane sends a type in one response,
 * Hadal's in as many as it takes, since a slow agent must not make it hold all of them. So Hadal's marks each response after which
 * it has more to say of the type by the end of its nonce, which whoever does not know it sends back as it is. A response without the
 * mark is the last one.
 */
const moreFollows = '.more';

export function nonceOf(count: number, isLast: boolean): string {
  return `${count.toString(36)}${isLast ? '' : moreFollows}`;
}

export function isLastOfPush(nonce: string): boolean {
  return !nonce.endsWith(moreFollows);
}
