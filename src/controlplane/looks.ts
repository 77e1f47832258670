/** What a translation looked at, as text: when one of these changes, the translation is made again. */
export type LookKey = string;

/** No object is called `*`, so a list never looks like an object. */
export const look = Object.freeze({
  object: (kind: string, namespace: string, name: string): LookKey => `${kind}/${namespace}/${name}`,
  list: (kind: string, namespace: string): LookKey => `${kind}/${namespace}/*`,
  /** No kind begins with `~`. */
  index: (index: string, key: string): LookKey => `~${index}/${key}`,
});
