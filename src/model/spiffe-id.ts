/** `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`, the only form of identity in the mesh. */
export interface SpiffeId {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

// The SPIFFE ID standard, sections 2.1 and 2.2: lower case trust domain, path segments of letters, digits, dot, dash, underscore.
const trustDomainPattern = /^[a-z0-9._-]{1,255}$/;
const segmentPattern = /^[A-Za-z0-9._-]{1,253}$/;
const maxLength = 2048;

export function isTrustDomain(text: string): boolean {
  return trustDomainPattern.test(text);
}

function isSegment(text: string): boolean {
  return segmentPattern.test(text) && text !== '.' && text !== '..';
}

/** Undefined for everything that is not exactly the form above. */
export function parseSpiffeId(text: string): SpiffeId | undefined {
  if (text.length > maxLength || !text.startsWith('spiffe://')) {
    return undefined;
  }
  const [trustDomain, ns, namespace, sa, serviceAccount, ...rest] = text.slice('spiffe://'.length).split('/');
  if (trustDomain === undefined || namespace === undefined || serviceAccount === undefined) {
    return undefined;
  }
  if (ns !== 'ns' || sa !== 'sa' || rest.length > 0) {
    return undefined;
  }
  if (!isTrustDomain(trustDomain) || !isSegment(namespace) || !isSegment(serviceAccount)) {
    return undefined;
  }
  return Object.freeze({ trustDomain, namespace, serviceAccount });
}

export function spiffeText(trustDomain: string, namespace: string, serviceAccount: string): string {
  return `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`;
}

export function formatSpiffeId(id: SpiffeId): string {
  return spiffeText(id.trustDomain, id.namespace, id.serviceAccount);
}
