/** A name that only means another one, as a Service of type ExternalName does: it carries nothing, DNS answers with a CNAME. */
export interface DnsAlias {
  readonly namespace: string;
  /** `db.shop.svc.cluster.local`. */
  readonly hostname: string;
  /** Any name, in the mesh or not; lower case, without the dot at the end. */
  readonly target: string;
}

/** `namespace/hostname`: its resource name. */
export function aliasKey(alias: DnsAlias): string {
  return `${alias.namespace}/${alias.hostname}`;
}
