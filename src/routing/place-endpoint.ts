import { formatAuthority } from '../model/authority.ts';
import { reasons } from '../model/reasons.gen.ts';
import type { IpFamilySetting, Service } from '../model/service.ts';
import { type Workload, workloadIdentity } from '../model/workload.ts';
import type { JudgedEndpoint } from './judgement.ts';
import { createLabels, partyOfWorkload } from './labels.ts';
import type { OutboundContext } from './outbound-context.ts';
import { judgeSameNode } from './same-node.ts';

export interface Unusable {
  readonly kind: 'unusable';
  readonly reason: number;
  /** For the operator, naming the workload. */
  readonly why: string;
}

/** An endpoint, or the reason why this workload cannot be one. */
export type Placement = { readonly kind: 'placed'; readonly endpoint: JudgedEndpoint } | Unusable;

/** How to reach `workload` at `port` of its own, as an endpoint of `service` if there is one. */
export function placeEndpoint(
  context: OutboundContext,
  workload: Workload,
  port: number,
  service: Service | undefined,
): Placement {
  const obstacle = obstacleTo(context, workload);
  if (obstacle !== undefined) {
    return obstacle;
  }
  const address = addressFor(context, workload, service?.ipFamilies ?? 'AUTOMATIC');
  if (address === undefined) {
    return unusable(
      reasons.NO_HEALTHY_ENDPOINT,
      `${workload.uid} has no address of a family that may be used`,
    );
  }
  // The pod is its own endpoint: a tunnel to itself would come back as a call to the agent, its own port is next door.
  if (workload.uid === context.source.uid) {
    if (!context.ownAddresses.has(address)) {
      return unusable(
        reasons.NO_HEALTHY_ENDPOINT,
        `${workload.uid} is the source itself, and its namespace does not have ${address}`,
      );
    }
    return context.settings.illegalPorts.includes(port)
      ? unusable(reasons.SELF_CALL, `${workload.uid} would call port ${port} of its own agent`)
      : placed(plaintextEndpoint(context, workload, service, { address, port }));
  }
  if (workload.tunnelProtocol === 'NONE') {
    return placed(plaintextEndpoint(context, workload, service, { address, port }));
  }
  const endpoint = tunnelEndpoint(context, workload, service, {
    via: 'endpoint',
    address,
    port: context.settings.hbonePort,
    authority: formatAuthority(address, port),
    peerIdentities: [workloadIdentity(workload), ...(service?.subjectAltNames ?? [])],
  });
  const sameNode = judgeSameNode(context, { workload, service, address, port });
  return placed(sameNode === undefined ? endpoint : Object.freeze({ ...endpoint, sameNode }));
}

/** Why the workload cannot be reached whatever the port; undefined when it can. */
export function obstacleTo(context: OutboundContext, workload: Workload): Unusable | undefined {
  if (workload.network !== context.source.network) {
    const network = workload.network === '' ? 'the unnamed network' : `network ${workload.network}`;
    return unusable(reasons.REMOTE_NETWORK, `${workload.uid} is on ${network}, which is not the source's`);
  }
  if (workload.tunnelProtocol === 'LEGACY_ISTIO_MTLS') {
    return unusable(
      reasons.UNSUPPORTED_PROTOCOL,
      `${workload.uid} speaks LEGACY_ISTIO_MTLS, which is not supported`,
    );
  }
  if (workload.addresses.length === 0) {
    const name =
      workload.hostname === '' ? '' : ` but the host name ${workload.hostname}, which is not resolved yet`;
    return unusable(reasons.NO_HEALTHY_ENDPOINT, `${workload.uid} has no address${name}`);
  }
  return undefined;
}

/** As `obstacleTo`, for one of several: an endpoint of capacity 0 wants no share. */
export function obstacleToShare(context: OutboundContext, workload: Workload): Unusable | undefined {
  return workload.capacity === 0
    ? unusable(reasons.NO_HEALTHY_ENDPOINT, `${workload.uid} has capacity 0`)
    : obstacleTo(context, workload);
}

/** The address asked for if the workload has it, else the first of a family that may be used, the one asked for first. */
export function addressFor(
  context: OutboundContext,
  workload: Workload,
  families: IpFamilySetting,
): string | undefined {
  if (workload.addresses.includes(context.address.text)) {
    return context.address.text;
  }
  const allowed = workload.addresses.filter((address) => isAllowed(familyOf(address), families));
  return allowed.find((address) => familyOf(address) === context.address.family) ?? allowed[0];
}

export interface TunnelTarget {
  readonly via: 'endpoint' | 'waypoint';
  readonly address: string;
  readonly port: number;
  readonly authority: string;
  readonly peerIdentities: readonly string[];
}

export function tunnelEndpoint(
  context: OutboundContext,
  workload: Workload,
  service: Service | undefined,
  target: TunnelTarget,
): JudgedEndpoint {
  return Object.freeze({
    ...target,
    workloadUid: workload.uid,
    path: 'tunnel',
    peerIdentities: Object.freeze([...new Set(target.peerIdentities)]),
    forwardedHost: service?.hostname ?? '',
    baggage: context.baggage,
    weight: Math.max(1, workload.capacity),
    labels: createLabels({
      reporter: 'source',
      source: context.sourceParty,
      destination: partyOfWorkload(workload),
      service,
      mutualTls: { source: workloadIdentity(context.source), destination: workloadIdentity(workload) },
    }),
  });
}

/** In the clear to a workload, or to the original destination when no workload is known there. */
export function plaintextEndpoint(
  context: OutboundContext,
  workload: Workload | undefined,
  service: Service | undefined,
  target: { readonly address: string; readonly port: number },
): JudgedEndpoint {
  return Object.freeze({
    ...target,
    workloadUid: workload?.uid ?? '',
    via: workload === undefined ? 'passthrough' : 'endpoint',
    path: 'plaintext',
    authority: '',
    peerIdentities: Object.freeze([]),
    forwardedHost: service?.hostname ?? '',
    baggage: '',
    weight: Math.max(1, workload?.capacity ?? 1),
    labels: createLabels({
      reporter: 'source',
      source: context.sourceParty,
      destination: workload === undefined ? undefined : partyOfWorkload(workload),
      service,
      mutualTls: undefined,
    }),
  });
}

function isAllowed(family: 4 | 6, families: IpFamilySetting): boolean {
  return families === 'IPV4_ONLY' ? family === 4 : families === 'IPV6_ONLY' ? family === 6 : true;
}

/** Addresses of workloads are canonical text; parsing those of a large service again would take most of a judgement. */
function familyOf(address: string): 4 | 6 {
  return address.includes(':') ? 6 : 4;
}

function placed(endpoint: JudgedEndpoint): Placement {
  return { kind: 'placed', endpoint };
}

function unusable(reason: number, why: string): Unusable {
  return { kind: 'unusable', reason, why };
}
