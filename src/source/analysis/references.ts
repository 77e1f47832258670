/** Names of things that are not there. */
import { isConnectionKey } from '../translate/http-attributes.ts';
import { labelField, labels } from '../translate/label-names.ts';
import { type Analysed, type Finding, finding, writtenOf } from './finding.ts';

export function checkReferences(analysed: Analysed): Finding[] {
  return [...waypoints(analysed), ...accounts(analysed), ...namespaces(analysed), ...sources(analysed)];
}

/** Who names a waypoint that is not there is refused until it is. */
function waypoints({ set, view }: Analysed): Finding[] {
  return set.objects.flatMap((written) => {
    const { labels: own, name, namespace } = written.object.metadata;
    const waypoint = own[labels.useWaypoint];
    if (waypoint === undefined || waypoint === '' || waypoint === 'none') return [];
    const within =
      own[labels.useWaypointNamespace] ?? (written.object.kind === 'Namespace' ? name : namespace);
    if (view.get('Gateway', within, waypoint) !== undefined) return [];
    const message = `names waypoint ${within}/${waypoint}, and there is no such Gateway: the traffic is refused`;
    return [finding('error', 'waypoint-missing', written, labelField(labels.useWaypoint), message)];
  });
}

/** `default` is there in every namespace by itself. */
function accounts({ set, view }: Analysed): Finding[] {
  return writtenOf(set, 'Pod').flatMap((written) => {
    const { namespace } = written.object.metadata;
    const { serviceAccountName } = written.object.spec;
    if (serviceAccountName === 'default') return [];
    if (view.get('ServiceAccount', namespace, serviceAccountName) !== undefined) return [];
    const message = `names ServiceAccount ${namespace}/${serviceAccountName}, which is not there: the pod cannot be made`;
    return [finding('error', 'account-missing', written, 'spec.serviceAccountName', message)];
  });
}

const builtIn = ['default', 'kube-system', 'kube-public', 'kube-node-lease'];

function namespaces({ set, view }: Analysed): Finding[] {
  const known = (name: string) =>
    name === '' || name === view.names.rootNamespace || builtIn.includes(name) || isNamespace(name);
  const isNamespace = (name: string) => view.get('Namespace', '', name) !== undefined;
  const told = new Set<string>();
  return set.objects.flatMap((written) => {
    const { namespace } = written.object.metadata;
    if (known(namespace) || told.has(namespace)) return [];
    told.add(namespace);
    const message = `is in namespace ${namespace}, which is not among the manifests: its labels are not known`;
    return [finding('warning', 'namespace-missing', written, 'metadata.namespace', message)];
  });
}

interface Mention {
  readonly field: string;
  readonly values: readonly string[];
}

/** Callers of policies: those that nobody here can be. */
function sources(analysed: Analysed): Finding[] {
  const { set, view } = analysed;
  const used = new Set(
    writtenOf(set, 'Pod').map(
      ({ object }) => `${object.metadata.namespace}/${object.spec.serviceAccountName}`,
    ),
  );
  for (const { object } of writtenOf(set, 'ServiceAccount'))
    used.add(`${object.metadata.namespace}/${object.metadata.name}`);
  const spaces = new Set(set.objects.map(({ object }) => object.metadata.namespace));
  for (const { object } of writtenOf(set, 'Namespace')) spaces.add(object.metadata.name);
  return writtenOf(set, 'AuthorizationPolicy').flatMap((written) => {
    const unknown = (field: string, message: string) =>
      finding('warning', 'reference-unknown', written, field, message);
    return mentions(written.object.spec.rules).flatMap(({ field, values }) =>
      values.flatMap((value, index) => {
        const at = `${field}[${index}]`;
        if (value.includes('*')) return [];
        if (/namespaces$/i.test(field) || field.includes('source.namespace')) {
          return spaces.has(value) ? [] : [unknown(at, `${value} is no namespace of these manifests`)];
        }
        if (/serviceaccounts$/i.test(field)) {
          const account = value.includes('/') ? value : `${written.object.metadata.namespace}/${value}`;
          return used.has(account)
            ? []
            : [unknown(at, `no ServiceAccount ${account} is among these manifests`)];
        }
        const why = principalProblem(value, view.names.trustDomain, used);
        return why === undefined ? [] : [unknown(at, why)];
      }),
    );
  });
}

function principalProblem(text: string, trustDomain: string, used: ReadonlySet<string>): string | undefined {
  const bare = text.replace(/^spiffe:\/\//, '');
  const [domain, ns, namespace, sa, account, ...rest] = bare.split('/');
  if (ns !== 'ns' || sa !== 'sa' || account === undefined || rest.length > 0) {
    return `${text} is no identity: write ${trustDomain}/ns/NAMESPACE/sa/ACCOUNT, or a pattern with *`;
  }
  if (domain !== trustDomain) {
    return `${text} is of trust domain ${domain}; the mesh's own is ${trustDomain}`;
  }
  return used.has(`${namespace}/${account}`)
    ? undefined
    : `no ServiceAccount ${namespace}/${account} is among these manifests`;
}

type Rules = Extract<
  Analysed['set']['objects'][number]['object'],
  { kind: 'AuthorizationPolicy' }
>['spec']['rules'];

function mentions(rules: Rules): Mention[] {
  return rules.flatMap(({ from = [], when }, rule) => [
    ...from.flatMap(({ source }, index) =>
      (
        [
          'principals',
          'notPrincipals',
          'namespaces',
          'notNamespaces',
          'serviceAccounts',
          'notServiceAccounts',
        ] as const
      ).map((name) => ({
        field: `spec.rules[${rule}].from[${index}].source.${name}`,
        values: source[name],
      })),
    ),
    ...when.flatMap(({ key, values, notValues }, index) =>
      isConnectionKey(key) && (key === 'source.principal' || key === 'source.namespace')
        ? [
            { field: `spec.rules[${rule}].when[${index}](${key}).values`, values },
            { field: `spec.rules[${rule}].when[${index}](${key}).notValues`, values: notValues },
          ]
        : [],
    ),
  ]);
}
