import { type Workload, workloadTypes } from '../model/workload.ts';

/** Who a workload is, in the words of the `baggage` header; '' where not told. */
export interface Baggage {
  readonly cluster: string;
  readonly namespace: string;
  readonly workload: string;
  readonly service: string;
  readonly version: string;
  readonly region: string;
  readonly zone: string;
}

const keys = {
  'k8s.cluster.name': 'cluster',
  'k8s.namespace.name': 'namespace',
  'service.name': 'service',
  'service.version': 'version',
  'cloud.region': 'region',
  'cloud.availability_zone': 'zone',
} as const satisfies Record<string, keyof Baggage>;

const workloadKeys: ReadonlySet<string> = new Set(workloadTypes.map(workloadKey));
const empty: Baggage = Object.freeze({
  cluster: '',
  namespace: '',
  workload: '',
  service: '',
  version: '',
  region: '',
  zone: '',
});

function workloadKey(type: Workload['workloadType']): string {
  return `k8s.${type.toLowerCase()}.name`;
}

/** The header that tells the other side about this workload; values that are empty are left out. */
export function formatBaggage(workload: Workload): string {
  const members: readonly (readonly [string, string])[] = [
    ['k8s.cluster.name', workload.clusterId],
    ['k8s.namespace.name', workload.namespace],
    [workloadKey(workload.workloadType), workload.workloadName],
    ['service.name', workload.canonicalName],
    ['service.version', workload.canonicalRevision],
    ['cloud.region', workload.locality.region],
    ['cloud.availability_zone', workload.locality.zone],
  ];
  return members
    .filter(([, value]) => value !== '')
    .map(([key, value]) => `${key}=${escapeValue(value)}`)
    .join(',');
}

/** Reads what it knows and passes over the rest; whatever a peer sends, it answers. The last of several equal keys counts. */
export function parseBaggage(header: string): Baggage {
  const found: { -readonly [K in keyof Baggage]: Baggage[K] } = { ...empty };
  for (const member of header.split(',')) {
    const [key = '', value = ''] = (member.split(';', 1)[0] ?? '').split('=').map((part) => part.trim());
    if (workloadKeys.has(key)) {
      found.workload = unescapeValue(value);
    } else if (Object.hasOwn(keys, key)) {
      found[keys[key as keyof typeof keys]] = unescapeValue(value);
    }
  }
  return Object.freeze(found);
}

/** Percent-encodes what may not stand in a baggage value (W3C Baggage, 3.3.1): the header must not be breakable by a name. */
function escapeValue(value: string): string {
  return value.replace(/[^A-Za-z0-9!#$&'()*+./:<>?@[\]^_`{|}~-]/gu, (char) => {
    return [...Buffer.from(char)]
      .map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`)
      .join('');
  });
}

function unescapeValue(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}
