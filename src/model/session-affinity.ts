import type { Service } from './service.ts';

/** Istio's protocol has no word for it: it travels as the name of an extension, which others skip. */
export const clientAffinityExtension = 'hadal.service.v1.SessionAffinity/ClientIP';

/** Whether all connections of one client go to one endpoint while that is there: `sessionAffinity: ClientIP` of a Service. */
export function hasClientAffinity({ extensions }: Pick<Service, 'extensions'>): boolean {
  return extensions.includes(clientAffinityExtension);
}
