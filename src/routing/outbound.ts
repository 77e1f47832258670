import { isLocalOnly, parseAddress } from '../model/address.ts';
import { formatAuthority } from '../model/authority.ts';
import { cidrContains } from '../model/cidr.ts';
import { dependency } from '../model/diff.ts';
import { meshRanges, meshSettingsKey } from '../model/mesh-settings.ts';
import { reasonDetails, reasons } from '../model/reasons.gen.ts';
import { type Service, serviceKey } from '../model/service.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';
import type { Workload } from '../model/workload.ts';
import { formatBaggage } from './baggage.ts';
import { enrolledWorkload } from './enrolled-workload.ts';
import { serviceAt } from './find-service.ts';
import type {
  JudgedEndpoint,
  JudgementSettings,
  OutboundJudgement,
  OutboundQuestion,
  RefusingEndpoint,
} from './judgement.ts';
import { createLabels, type Party, partyOfWorkload } from './labels.ts';
import type { OutboundContext } from './outbound-context.ts';
import { outboundPolicyOf } from './outbound-policy.ts';
import { plaintextEndpoint } from './place-endpoint.ts';
import { refusingEndpoints } from './refusals.ts';
import {
  endpointsOfWaypoints,
  type Selection,
  serviceEndpoints,
  workloadEndpoints,
} from './select-endpoints.ts';
import { Trace } from './trace.ts';

/** Where new connections of a pod to this address and port go, or why they may not. Pure. */
export function judgeOutbound(
  snapshot: MeshSnapshot,
  question: OutboundQuestion,
  settings: JudgementSettings,
): OutboundJudgement {
  const trace = new Trace();
  const found = enrolledWorkload(snapshot, trace, question.source);
  if (found.workload === undefined) {
    return conclude(trace, undefined, { endpoints: [], reason: found.reason });
  }
  const source = found.workload;
  const address = parseAddress(question.address);
  if (address === undefined) {
    trace.step(`${JSON.stringify(question.address)} is not an address`);
    return conclude(trace, source, { endpoints: [], reason: reasons.UNKNOWN_DESTINATION });
  }
  // What the pod's namespace has: an address that only the state knows may be another pod's by now.
  const own = question.source.addresses.length > 0 ? question.source.addresses : source.addresses;
  const ownAddresses = new Set(own.map((each) => parseAddress(each)?.text ?? each));
  const context: OutboundContext = {
    snapshot,
    settings,
    trace,
    source,
    sourceParty: partyOfWorkload(source),
    baggage: formatBaggage(source),
    ownAddresses,
    local: question.local,
    sourceSameNode: question.source.sameNode,
    address,
    port: question.port,
  };
  trace.step(`${source.uid} connects to ${formatAuthority(address.text, question.port)}`);
  return judgeOwn(context) ?? judgeAddress(context);
}

/** The pod and itself: never anybody's tunnel; a call to the agent's own ports would loop. */
function judgeOwn(context: OutboundContext): OutboundJudgement | undefined {
  const { address, port, settings, trace, source, ownAddresses } = context;
  const isOwn = ownAddresses.has(address.text);
  if (!isLocalOnly(address) && !isOwn) {
    return undefined;
  }
  const what = isOwn ? "the pod's own address" : 'an address that never leaves the pod';
  if (settings.illegalPorts.includes(port)) {
    trace.step(`${address.text} is ${what} and ${port} a port of the agent: refused`);
    return conclude(trace, source, { endpoints: [], reason: reasons.SELF_CALL });
  }
  trace.step(`${address.text} is ${what}: left alone`);
  const endpoint = plaintextEndpoint(context, isOwn ? source : undefined, undefined, {
    address: address.text,
    port,
  });
  return conclude(trace, source, { endpoints: [endpoint], reason: reasons.NONE });
}

function judgeAddress(context: OutboundContext): OutboundJudgement {
  const { snapshot, settings, trace, source, address } = context;
  const where = { network: settings.network, address: address.text, namespace: source.namespace };
  const service = serviceAt(snapshot, trace, where);
  const workload = workloadAt(context);
  if (service === undefined) {
    return conclude(
      trace,
      source,
      workload === undefined
        ? unknownDestination(context)
        : unlessAllRefuse(context, directTo(context, workload)),
    );
  }
  trace.depend(dependency.service(serviceKey(service)));
  trace.step(`${address.text} is an address of service ${serviceKey(service)}`);
  // A workload that owns the very address counts first: then the service chooses endpoints, but its waypoint is not asked.
  const waypoints = workload === undefined ? endpointsOfWaypoints(context, service) : undefined;
  if (workload !== undefined) {
    trace.step(`workload ${workload.uid} owns the address too: the waypoint of the service does not apply`);
  }
  return conclude(
    trace,
    source,
    waypoints ?? unlessAllRefuse(context, serviceEndpoints(context, service, workload === undefined)),
    service,
  );
}

interface Outcome extends Selection {
  readonly refusing?: readonly RefusingEndpoint[];
  /** Whose endpoints refuse, where all are of one. */
  readonly refusedBy?: Party | undefined;
}

/** Policies of the destination, asked at the source: what nobody there would let in need not be sent. */
function unlessAllRefuse(context: OutboundContext, selection: Selection): Outcome {
  const refusing = refusingEndpoints(context, selection.endpoints);
  const [first] = refusing;
  if (first === undefined) return selection;
  const workloads = refusing.flatMap(
    ({ endpoint }) => context.snapshot.workloads.get(endpoint.workloadUid) ?? [],
  );
  const [one] = workloads;
  const isOne = workloads.every(
    ({ workloadName, namespace }) => workloadName === one?.workloadName && namespace === one.namespace,
  );
  const refusedBy = one !== undefined && isOne ? partyOfWorkload(one) : undefined;
  return { endpoints: [], reason: first.outcome.reason, refusing, refusedBy };
}

/** Several may own one address (a pod that ended and its heir): HBONE first, then healthy, then by uid, so that all agree. */
function workloadAt(context: OutboundContext): Workload | undefined {
  const { snapshot, settings, address } = context;
  const preference = (workload: Workload) =>
    Number(workload.tunnelProtocol === 'HBONE') * 2 + Number(workload.status === 'HEALTHY');
  return snapshot
    .workloadsAt(settings.network, address.text)
    .toSorted((left, right) => preference(right) - preference(left) || (left.uid < right.uid ? -1 : 1))[0];
}

function directTo(context: OutboundContext, workload: Workload): Selection {
  context.trace.step(`${context.address.text} is an address of workload ${workload.uid}`);
  return workloadEndpoints(context, workload, context.port, undefined);
}

function unknownDestination(context: OutboundContext): Selection {
  const { snapshot, settings, trace, address, port } = context;
  // What the control plane knows of the cluster's ranges counts beside what this agent was told.
  trace.depend(dependency.service(meshSettingsKey));
  const ranges = [...settings.clusterRanges, ...meshRanges(snapshot)];
  const isOutside = ranges.length > 0 && !ranges.some((range) => cidrContains(range, address));
  if (!isOutside && !settings.allowUnknownDestinations) {
    trace.step(
      `nobody in the mesh knows ${address.text}: refused, it may be a meshed pod that is not known yet`,
    );
    return { endpoints: [], reason: reasons.UNKNOWN_DESTINATION };
  }
  const said = outboundPolicyOf(snapshot, context.source, settings.outboundTrafficPolicy);
  if (said?.policy === 'REGISTRY_ONLY') {
    trace.step(
      `nobody in the mesh knows ${address.text}, and by ${said.saidBy} it is REGISTRY_ONLY: refused`,
    );
    return { endpoints: [], reason: reasons.EGRESS_REFUSED };
  }
  const why = isOutside ? "outside the cluster's ranges" : 'unknown destinations are allowed';
  trace.step(`nobody in the mesh knows ${address.text}; ${why}: passed on as it is`);
  const endpoint = plaintextEndpoint(context, undefined, undefined, { address: address.text, port });
  return { endpoints: [endpoint], reason: reasons.NONE };
}

function conclude(
  trace: Trace,
  source: Workload | undefined,
  { endpoints, reason, refusing = [], refusedBy }: Outcome,
  service?: Service,
): OutboundJudgement {
  trace.step(
    reason === reasons.NONE ? describeEndpoints(endpoints) : `refused: ${reasonDetails.get(reason)?.text}`,
  );
  const labels = createLabels({
    reporter: 'source',
    source: source === undefined ? undefined : partyOfWorkload(source),
    destination: refusedBy,
    service,
    mutualTls: undefined,
  });
  return Object.freeze({
    kind: 'outbound',
    reason,
    labels,
    service: service === undefined ? '' : serviceKey(service),
    endpoints: Object.freeze([...endpoints]),
    refusing,
    dependencies: trace.dependencies,
    // Most judgements become rows and are never read.
    get explanation() {
      return trace.explanation;
    },
  });
}

const describedEndpoints = 5;

function describeEndpoints(endpoints: readonly JudgedEndpoint[]): string {
  const shown = endpoints.slice(0, describedEndpoints).map((endpoint) => {
    const to = formatAuthority(endpoint.address, endpoint.port);
    return endpoint.path === 'tunnel' ? `tunnel to ${to} for ${endpoint.authority}` : `plaintext to ${to}`;
  });
  const more = endpoints.length - shown.length;
  return `goes by ${shown.join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}
