import { z } from 'zod';
import { labelSelector } from '../../model/label-selector.ts';
import { clusterScopedMetadata, metadata, portNumber } from './metadata.ts';

/** The versions say the same; the newest name stands for all. */
const gatewayApi = z
  .enum(['gateway.networking.k8s.io/v1', 'gateway.networking.k8s.io/v1beta1'])
  .transform(() => 'gateway.networking.k8s.io/v1' as const);

const address = z.object({ type: z.string().default('IPAddress'), value: z.string().default('') });

const listener = z.object({
  name: z.string().min(1),
  hostname: z.string().optional(),
  port: portNumber,
  protocol: z.string().min(1),
  allowedRoutes: z
    .object({
      namespaces: z
        .object({
          from: z.enum(['All', 'Same', 'Selector', 'None']).default('Same'),
          selector: labelSelector.optional(),
        })
        .optional(),
    })
    .optional(),
});

const texts = z.record(z.string(), z.string());

export const gatewayObject = z.object({
  apiVersion: gatewayApi,
  kind: z.literal('Gateway'),
  metadata,
  spec: z.object({
    gatewayClassName: z.string().min(1),
    listeners: z.array(listener).default([]),
    addresses: z.array(address).default([]),
    /** Labels and annotations for what is made for the gateway. */
    infrastructure: z
      .object({ labels: texts.default({}), annotations: texts.default({}) })
      .default({ labels: {}, annotations: {} }),
  }),
  status: z.object({ addresses: z.array(address).default([]) }).default({ addresses: [] }),
});

export const gatewayClassObject = z.object({
  apiVersion: gatewayApi,
  kind: z.literal('GatewayClass'),
  metadata: clusterScopedMetadata,
  spec: z.object({ controllerName: z.string().min(1) }),
});

export type GatewayObject = z.infer<typeof gatewayObject>;
export type GatewayClassObject = z.infer<typeof gatewayClassObject>;
export type GatewayListener = z.infer<typeof listener>;
