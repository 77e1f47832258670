/**
 * AuthorizationPolicy by its documentation, over manifests as they are written, sharing no code with src: what a connection
 * surely matches and what it possibly matches, since a request inside it could ask for anything.
 */
import type { Json } from './objects.ts';

export interface NaiveConnection {
  /** Undefined without identity. */
  readonly who: { readonly namespace: string; readonly account: string } | undefined;
  /** IPv4. */
  readonly from: string;
  readonly to: string;
  readonly port: number;
}

export interface NaivePolicy {
  readonly namespace: string;
  readonly spec: {
    readonly selector?: { readonly matchLabels: Record<string, string> };
    readonly action: 'ALLOW' | 'DENY';
    readonly rules: readonly Json[];
  };
}

/** Surely, possibly, never. */
type Answer = 'yes' | 'maybe' | 'no';

const all = (answers: readonly Answer[]): Answer =>
  answers.includes('no') ? 'no' : answers.includes('maybe') ? 'maybe' : 'yes';
const any = (answers: readonly Answer[]): Answer =>
  answers.includes('yes') ? 'yes' : answers.includes('maybe') ? 'maybe' : 'no';
const sure = (holds: boolean): Answer => (holds ? 'yes' : 'no');

/** May it in? Only when no DENY possibly matches and, where ALLOWs apply, one surely does. */
export function naivelyAllowed(
  policies: readonly NaivePolicy[],
  pod: { readonly namespace: string; readonly labels: Record<string, string> },
  connection: NaiveConnection,
): boolean {
  const applying = policies.filter(({ namespace, spec }) => {
    const wanted = Object.entries(spec.selector?.matchLabels ?? {});
    const inReach = namespace === 'istio-system' || namespace === pod.namespace;
    return inReach && wanted.every(([label, value]) => pod.labels[label] === value);
  });
  const answer = ({ namespace, spec }: NaivePolicy) =>
    any(spec.rules.map((rule) => ruleAnswer(rule, namespace, connection)));
  const denies = applying.filter(({ spec }) => spec.action === 'DENY');
  const allows = applying.filter(({ spec }) => spec.action === 'ALLOW');
  if (denies.some((policy) => answer(policy) !== 'no')) return false;
  return allows.length === 0 || allows.some((policy) => answer(policy) === 'yes');
}

function ruleAnswer(rule: Json, namespace: string, connection: NaiveConnection): Answer {
  const { from, to, when } = rule as {
    from?: { source: Json }[];
    to?: { operation: Json }[];
    when?: { key: string; values?: string[]; notValues?: string[] }[];
  };
  return all([
    from === undefined ? 'yes' : any(from.map(({ source }) => fieldsAnswer(source, namespace, connection))),
    to === undefined ? 'yes' : any(to.map(({ operation }) => fieldsAnswer(operation, namespace, connection))),
    ...(when ?? []).map(({ key, values = [], notValues = [] }) =>
      all([
        values.length === 0 ? 'yes' : valuesAnswer(key, values, namespace, connection),
        opposite(notValues.length === 0 ? 'no' : valuesAnswer(key, notValues, namespace, connection)),
      ]),
    ),
  ]);
}

const attributes: Readonly<Record<string, string>> = {
  principals: 'source.principal',
  namespaces: 'source.namespace',
  serviceAccounts: 'account',
  ipBlocks: 'source.ip',
  ports: 'destination.port',
};

function fieldsAnswer(part: Json, namespace: string, connection: NaiveConnection): Answer {
  return all(
    Object.entries(part).map(([field, values]) => {
      const isDenied = field.startsWith('not');
      const name = isDenied ? `${field[3]?.toLowerCase()}${field.slice(4)}` : field;
      const answer = valuesAnswer(attributes[name] ?? 'http', values as string[], namespace, connection);
      return isDenied ? opposite(answer) : answer;
    }),
  );
}

function opposite(answer: Answer): Answer {
  return answer === 'yes' ? 'no' : answer === 'no' ? 'yes' : 'maybe';
}

function valuesAnswer(
  attribute: string,
  values: readonly string[],
  namespace: string,
  { who, from, to, port }: NaiveConnection,
): Answer {
  switch (attribute) {
    case 'source.principal':
      return sure(
        who !== undefined &&
          values.some((value) => like(value, `cluster.local/ns/${who.namespace}/sa/${who.account}`)),
      );
    case 'source.namespace':
      return sure(who !== undefined && values.some((value) => like(value, who.namespace)));
    case 'account':
      return sure(
        who !== undefined &&
          values.some(
            (value) =>
              (value.includes('/') ? value : `${namespace}/${value}`) === `${who.namespace}/${who.account}`,
          ),
      );
    case 'source.ip':
      return sure(values.some((value) => within(value, from)));
    case 'destination.ip':
      return sure(values.some((value) => within(value, to)));
    case 'destination.port':
      return sure(values.includes(String(port)));
    default:
      return 'maybe';
  }
}

function like(pattern: string, text: string): boolean {
  if (pattern === '*') return text.length > 0;
  if (pattern.startsWith('*')) return text.endsWith(pattern.slice(1));
  if (pattern.endsWith('*')) return text.startsWith(pattern.slice(0, -1));
  return pattern === text;
}

function within(range: string, address: string): boolean {
  const [base = '', length = '32'] = range.split('/');
  const bits = (text: string) =>
    text
      .split('.')
      .map((octet) => Number(octet).toString(2).padStart(8, '0'))
      .join('')
      .slice(0, Number(length));
  return bits(base) === bits(address);
}
