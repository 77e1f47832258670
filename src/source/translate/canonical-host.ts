/** Which of several entries for one host counts for clients of namespaces that have none: the oldest one that all may see. */
import type { ServiceEntryObject } from '../kubernetes/service-entry.ts';
import { serviceHostname } from './context.ts';
import { comparePrecedence } from './precedence.ts';
import type { TranslationWarning } from './resources.ts';
import type { ClusterIndex, ClusterView } from './view.ts';
import { visibilityOf } from './visibility.ts';

export const entriesByHost: ClusterIndex<'ServiceEntry'> = {
  name: 'service entries by host',
  kind: 'ServiceEntry',
  keysOf: ({ spec }) => [...new Set(spec.hosts)],
};

/** A Service of Kubernetes comes before all of them. */
export function isCanonicalHost(view: ClusterView, entry: ServiceEntryObject, host: string): boolean {
  if (!isPublic(entry) || isService(view, host)) return false;
  const others = view.indexed(entriesByHost, host).filter(isPublic);
  return others.every((other) => comparePrecedence(claimOf(entry), claimOf(other)) <= 0);
}

const claimOf = ({ metadata: { creationTimestamp, namespace, name } }: ServiceEntryObject) => ({
  createdAt: creationTimestamp,
  id: `${namespace}/${name}`,
});

function isPublic(entry: ServiceEntryObject): boolean {
  const unheard: TranslationWarning[] = [];
  const about = { object: entry, namespace: entry.metadata.namespace, field: 'spec.exportTo' };
  return visibilityOf(entry.spec.exportTo, about, unheard) === 'PUBLIC';
}

function isService(view: ClusterView, host: string): boolean {
  const [name = '', namespace = ''] = host.split('.');
  if (serviceHostname(view.names, namespace, name) !== host) return false;
  const service = view.get('Service', namespace, name);
  return service !== undefined && service.spec.type !== 'ExternalName';
}
