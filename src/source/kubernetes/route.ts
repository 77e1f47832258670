import { z } from 'zod';
import { metadata } from './metadata.ts';

export const routeKinds = ['HTTPRoute', 'GRPCRoute', 'TLSRoute', 'TCPRoute'] as const;

/** What the mesh reads of a route today: that it is there and whose it is. Its rules are a waypoint's. */
export const routeObject = z.object({
  apiVersion: z.string().transform(() => 'gateway.networking.k8s.io/v1' as const),
  kind: z.enum(routeKinds),
  metadata,
  spec: z
    .object({
      parentRefs: z
        .array(
          z.object({
            kind: z.string().default('Gateway'),
            namespace: z.string().optional(),
            name: z.string().min(1),
          }),
        )
        .default([]),
    })
    .default({ parentRefs: [] }),
});

export type RouteObject = z.infer<typeof routeObject>;
