import { z } from 'zod';
import { metadata, portNumber } from './metadata.ts';

const containerPort = z.object({
  name: z.string().optional(),
  containerPort: portNumber,
  protocol: z.enum(['TCP', 'UDP', 'SCTP']).default('TCP'),
});

const environmentVariable = z.object({
  name: z.string().min(1),
  value: z.string({ error: 'must be text; quote it, as in "8080"' }).optional(),
  valueFrom: z.object({ fieldRef: z.object({ fieldPath: z.string() }).optional() }).optional(),
});

/** A port by number or by the name of a container port. */
export const portReference = z.union([portNumber, z.string().min(1)], {
  error: 'must be a port number or name',
});

const probe = z.object({
  httpGet: z.object({ path: z.string().default('/'), port: portReference }).optional(),
  tcpSocket: z.object({ port: portReference }).optional(),
  periodSeconds: z.number().positive().default(10),
  timeoutSeconds: z.number().positive().default(1),
  initialDelaySeconds: z.number().nonnegative().default(0),
  failureThreshold: z.int().min(1).default(3),
});

const container = z.object({
  name: z.string().min(1),
  image: z.string().optional(),
  command: z.array(z.string()).default([]),
  args: z.array(z.string()).default([]),
  env: z.array(environmentVariable).default([]),
  ports: z.array(containerPort).default([]),
  readinessProbe: probe.optional(),
});

const condition = z.object({ type: z.string(), status: z.string() });

export const podObject = z.object({
  apiVersion: z.literal('v1'),
  kind: z.literal('Pod'),
  metadata,
  spec: z.object({
    nodeName: z.string().default(''),
    serviceAccountName: z.string().default('default'),
    runtimeClassName: z.string().optional(),
    hostNetwork: z.boolean().default(false),
    restartPolicy: z.enum(['Always', 'OnFailure', 'Never']).default('Always'),
    securityContext: z.object({ runAsUser: z.int().min(0).optional() }).default({}),
    containers: z.array(container).min(1, 'a pod needs at least one container'),
    /** Those that go on beside the others, `restartPolicy: Always`, are the sidecars of Kubernetes 1.29. */
    initContainers: z
      .array(z.object({ ports: container.shape.ports, restartPolicy: z.string().optional() }))
      .optional(),
  }),
  status: z
    .object({
      phase: z.enum(['Pending', 'Running', 'Succeeded', 'Failed', 'Unknown']).default('Pending'),
      podIP: z.string().optional(),
      podIPs: z.array(z.object({ ip: z.string() })).default([]),
      conditions: z.array(condition).default([]),
    })
    .default({ phase: 'Pending', podIPs: [], conditions: [] }),
});

export type PodObject = z.infer<typeof podObject>;
export type Container = z.infer<typeof container>;
export type Probe = z.infer<typeof probe>;

/** Addresses in the order of `podIPs`, which starts with `podIP`. */
export function podAddresses(pod: PodObject): string[] {
  const all = pod.status.podIPs.map(({ ip }) => ip);
  return all.length > 0 ? all : pod.status.podIP === undefined ? [] : [pod.status.podIP];
}

export function isReady(pod: PodObject): boolean {
  return pod.status.conditions.some(({ type, status }) => type === 'Ready' && status === 'True');
}

/** Ended for good: its address may belong to another pod by now. */
export function isTerminal(pod: PodObject): boolean {
  return pod.status.phase === 'Succeeded' || pod.status.phase === 'Failed';
}

/** The number behind a port reference, by the container ports of this pod; those of sidecars come last. */
export function containerPortNumber(pod: PodObject, reference: number | string): number | undefined {
  if (typeof reference === 'number') return reference;
  const sidecars = pod.spec.initContainers?.filter(({ restartPolicy }) => restartPolicy === 'Always') ?? [];
  for (const { ports } of [...pod.spec.containers, ...sidecars]) {
    const named = ports.find((port) => port.name === reference && port.protocol === 'TCP');
    if (named !== undefined) return named.containerPort;
  }
  return undefined;
}
