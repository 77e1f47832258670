import { canonicalHostname } from '../model/authority.ts';
import { dependency } from '../model/diff.ts';
import type { Service } from '../model/service.ts';
import { workloadIdentity } from '../model/workload.ts';
import { parseBaggage } from './baggage.ts';
import { bestService, endpointPortsOf } from './find-service.ts';
import type { InboundContext } from './inbound-context.ts';
import type { InboundTarget } from './inbound-target.ts';
import { createLabels, type Party, partyOfBaggage, partyOfWorkload, type TrafficLabels } from './labels.ts';

/**
 * The service that the peer probably meant, for labels alone: the one whose name stood in the authority; the one the
 * forwarded header names, if the pod is an endpoint of it; else the best of those that lead to the port.
 */
export function meantService(context: InboundContext, target: InboundTarget): Service | undefined {
  if (target.namedService !== undefined) {
    return target.namedService;
  }
  const { trace, snapshot, destination, question } = context;
  const services = destination.services.flatMap(({ service }) => {
    trace.depend(dependency.service(service));
    return snapshot.services.get(service) ?? [];
  });
  const host = canonicalHostname(question.forwardedHost);
  const forwarded = services.filter(({ hostname }) => canonicalHostname(hostname) === host);
  const isTold = host !== undefined && forwarded.length > 0;
  const likely = isTold ? forwarded : services.filter((service) => leadsTo(context, service, target.port));
  return bestService(likely, destination.namespace);
}

function leadsTo(context: InboundContext, service: Service, port: number): boolean {
  const ownPorts = endpointPortsOf(context.destination, service);
  return (
    service.ports.some(({ servicePort, targetPort }) => {
      const own = ownPorts.find((each) => each.servicePort === servicePort)?.targetPort || targetPort;
      return own === port;
    }) || ownPorts.some(({ targetPort }) => targetPort === port)
  );
}

export function inboundLabels(
  context: InboundContext,
  target: InboundTarget,
  service: Service | undefined,
): TrafficLabels {
  const { question, destination } = context;
  const principals = { source: question.peerIdentity, destination: workloadIdentity(destination) };
  return createLabels({
    reporter: 'destination',
    source: sourceOf(context, target),
    destination: partyOfWorkload(destination),
    service,
    mutualTls: question.channel === 'hbone' ? principals : undefined,
    ...(question.channel === 'direct' && { nodeLocal: principals }),
  });
}

/** The workload behind the peer's address, if it may have that identity; what a gateway carried tells of itself by baggage. */
function sourceOf(context: InboundContext, target: InboundTarget): Party | undefined {
  const { question, settings, snapshot, trace, peerAddress } = context;
  const isForeign = question.forwardedNetwork !== '' && question.forwardedNetwork !== settings.network;
  const isFromGateway = isForeign || target.namedService !== undefined;
  if (!isFromGateway) {
    trace.depend(dependency.address(settings.network, peerAddress.text));
    const owners = snapshot.workloadsAt(settings.network, peerAddress.text);
    const source = owners.find(
      (workload) => question.channel === 'plaintext' || workloadIdentity(workload) === question.peerIdentity,
    );
    if (source !== undefined) {
      return partyOfWorkload(source);
    }
  }
  return question.baggage === '' || question.channel === 'plaintext'
    ? undefined
    : partyOfBaggage(parseBaggage(question.baggage));
}
