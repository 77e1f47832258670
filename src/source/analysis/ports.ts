/** Ports that no pod has. */
import { containerPortNumber } from '../kubernetes/pod.ts';
import { isForAgents } from '../translate/authorization-policy.ts';
import { matchesLabels } from '../translate/indexes.ts';
import { type Analysed, type Finding, finding, writtenOf } from './finding.ts';
import { containerPorts, type Selectable, selectables, selected } from './workloads.ts';

export function checkPorts(analysed: Analysed): Finding[] {
  return [...ofServices(analysed), ...ofPolicies(analysed), ...ofPeerAuthentications(analysed)];
}

function ofServices(analysed: Analysed): Finding[] {
  return writtenOf(analysed.set, 'Service').flatMap((written) => {
    const { metadata, spec } = written.object;
    if (Object.keys(spec.selector).length === 0) return [];
    const pods = selected(selectables(analysed, metadata.namespace), spec.selector).flatMap(
      ({ pod }) => pod ?? [],
    );
    if (pods.length === 0) return [];
    return spec.ports.flatMap(({ port, targetPort, protocol }, index) => {
      if (protocol !== 'TCP') return [];
      const field = `spec.ports[${index}].targetPort`;
      const target = targetPort ?? port;
      if (typeof target === 'string') {
        if (pods.some((pod) => containerPortNumber(pod, target) !== undefined)) return [];
        const message = `is ${target}, and no pod of the service has a TCP port of that name: port ${port} leads nowhere`;
        return [finding('error', 'port-missing', written, field, message)];
      }
      const said = [...new Set(pods.flatMap(containerPorts))];
      if (said.length === 0 || said.includes(target)) return [];
      const message = `is ${target}, and the pods of the service say they have only ${said.join(', ')}`;
      return [finding('warning', 'port-missing', written, field, message)];
    });
  });
}

function ofPolicies(analysed: Analysed): Finding[] {
  return writtenOf(analysed.set, 'AuthorizationPolicy').flatMap((written) => {
    if (!isForAgents(written.object)) return [];
    const { spec } = written.object;
    const check = portCheck(analysed, written.object);
    return spec.rules.flatMap(({ to = [], when }, rule) => [
      ...to.flatMap(({ operation: { ports, notPorts } }, index) =>
        [...check(ports, 'ports'), ...check(notPorts, 'notPorts')].map(([name, message]) =>
          finding(
            'warning',
            'port-missing',
            written,
            `spec.rules[${rule}].to[${index}].operation.${name}`,
            message,
          ),
        ),
      ),
      ...when.flatMap(({ key, values, notValues }, index) =>
        key !== 'destination.port'
          ? []
          : [...check(values, 'values'), ...check(notValues, 'notValues')].map(([name, message]) =>
              finding(
                'warning',
                'port-missing',
                written,
                `spec.rules[${rule}].when[${index}].${name}`,
                message,
              ),
            ),
      ),
    ]);
  });
}

function ofPeerAuthentications(analysed: Analysed): Finding[] {
  return writtenOf(analysed.set, 'PeerAuthentication').flatMap((written) => {
    const check = portCheck(analysed, written.object);
    return check(Object.keys(written.object.spec.portLevelMtls), '').map(([, message]) =>
      finding('warning', 'port-missing', written, 'spec.portLevelMtls', message),
    );
  });
}

interface Selecting {
  readonly metadata: { readonly namespace: string };
  readonly spec: { readonly selector: { readonly matchLabels: Readonly<Record<string, string>> } };
}

/** Field with index, and what is wrong with that port, for the pods that the object selects. */
function portCheck(
  analysed: Analysed,
  { metadata, spec }: Selecting,
): (ports: readonly string[], field: string) => [string, string][] {
  const { names } = analysed.view;
  const reach = selectables(
    analysed,
    metadata.namespace === names.rootNamespace ? undefined : metadata.namespace,
  );
  const chosen = selected(reach, spec.selector.matchLabels);
  const said = new Set(chosen.flatMap(({ pod }) => (pod === undefined ? [] : containerPorts(pod))));
  // A container need not say its ports; one that says none may have any.
  const isOpen =
    chosen.length === 0 || chosen.some(({ pod }) => pod === undefined || containerPorts(pod).length === 0);
  return (ports, field) =>
    isOpen
      ? []
      : ports.flatMap((text, index): [string, string][] => {
          const port = Number(text);
          if (said.has(port)) return [];
          const service = serviceWith(analysed, chosen, port);
          const message =
            service === undefined
              ? `${port} is a port that none of its pods says it has (${[...said].sort((a, b) => a - b).join(', ')})`
              : `${port} is a port of ${service.title}; policies see the port of the pod, ${service.target}`;
          return [[`${field}[${index}]`, message]];
        });
}

function serviceWith(
  { set }: Analysed,
  chosen: readonly Selectable[],
  wanted: number,
): { readonly title: string; readonly target: string } | undefined {
  for (const { object, title } of writtenOf(set, 'Service')) {
    const { selector, ports } = object.spec;
    const found = ports.find(({ port }) => port === wanted);
    const isBefore =
      Object.keys(selector).length > 0 &&
      chosen.some(
        ({ namespace, labels }) => namespace === object.metadata.namespace && matchesLabels(selector, labels),
      );
    if (found !== undefined && isBefore) return { title, target: String(found.targetPort ?? found.port) };
  }
  return undefined;
}
