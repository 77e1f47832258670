import { z } from 'zod';
import { metadata, portNumber } from './metadata.ts';
import { istioNetworking, workloadEntrySpec } from './workload-entry.ts';

const host = z
  .string()
  .max(253, 'is longer than 253 characters')
  .regex(
    /^(\*|(\*\.)?[a-zA-Z0-9_]([-a-zA-Z0-9_]*[a-zA-Z0-9_])?(\.[a-zA-Z0-9_]([-a-zA-Z0-9_]*[a-zA-Z0-9_])?)*)\.?$/,
    'must be a host name, as in "db.example.com" or "*.example.com"',
  )
  .transform((name) => name.toLowerCase().replace(/\.$/, ''))
  .refine((name) => name !== '*', 'would stand for every host; name the domain, as in "*.example.com"');

const port = z.object({
  number: portNumber,
  name: z.string().default(''),
  protocol: z.string().default('TCP'),
  targetPort: z.int().min(0).max(65_535).default(0),
});

const spec = z.object({
  hosts: z.array(host).min(1, 'a ServiceEntry needs at least one host'),
  addresses: z.array(z.string()).default([]),
  ports: z.array(port).default([]),
  location: z.enum(['MESH_EXTERNAL', 'MESH_INTERNAL']).default('MESH_EXTERNAL'),
  resolution: z.enum(['NONE', 'STATIC', 'DNS', 'DNS_ROUND_ROBIN', 'DYNAMIC_DNS']).default('NONE'),
  endpoints: z.array(workloadEntrySpec).default([]),
  workloadSelector: z
    .object({ labels: z.record(z.string(), z.string({ error: 'must be text; quote it' })).default({}) })
    .optional(),
  exportTo: z.array(z.string()).default([]),
  subjectAltNames: z.array(z.string()).default([]),
});

/** Protocols in whose requests a waypoint finds the host that is meant. */
const namingProtocols: readonly string[] = ['HTTP', 'HTTP2', 'GRPC', 'TLS'];

interface Fault {
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** A waypoint looks up the host of each request: there is nothing else that could say where connections go. */
function dynamicDnsFaults({ hosts, addresses, endpoints, ports }: z.infer<typeof spec>): Fault[] {
  const given = (field: string, count: number): Fault[] =>
    count === 0 ? [] : [{ path: [field], message: 'cannot be given with resolution DYNAMIC_DNS; remove it' }];
  return [
    ...hosts.flatMap((name, index) =>
      name.startsWith('*.')
        ? []
        : [{ path: ['hosts', index], message: `is "${name}", no wildcard; for one host use resolution DNS` }],
    ),
    ...given('addresses', addresses.length),
    ...given('endpoints', endpoints.length),
    ...ports.flatMap(({ protocol }, index) =>
      namingProtocols.includes(protocol.toUpperCase())
        ? []
        : [
            {
              path: ['ports', index, 'protocol'],
              message: `is ${protocol}, whose requests name no host; DYNAMIC_DNS takes ${namingProtocols.join(', ')}`,
            },
          ],
    ),
  ];
}

export const serviceEntryObject = z.object({
  apiVersion: istioNetworking,
  kind: z.literal('ServiceEntry'),
  metadata,
  spec: spec
    .refine(({ endpoints, workloadSelector }) => endpoints.length === 0 || workloadSelector === undefined, {
      path: ['workloadSelector'],
      error: 'endpoints and workloadSelector exclude each other',
    })
    .superRefine((entry, context) => {
      if (entry.resolution !== 'DYNAMIC_DNS') return;
      for (const { path, message } of dynamicDnsFaults(entry))
        context.addIssue({ code: 'custom', path: [...path], message });
    }),
  status: z
    .object({
      /** Addresses that a control plane gave its hosts. */
      addresses: z.array(z.object({ value: z.string(), host: z.string().default('') })).default([]),
    })
    .default({ addresses: [] }),
});

export type ServiceEntryObject = z.infer<typeof serviceEntryObject>;
export type ServiceEntryPort = z.infer<typeof port>;
