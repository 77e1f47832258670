/** The one port that agents talk to: gRPC over TLS, with the certificate of the mesh's own authority. */
import { Server } from '@grpc/grpc-js';
import { deadline, waitOrAbort } from '../base/abort.ts';
import { HadalError } from '../base/errors.ts';
import type { Closeable } from '../base/lifecycle.ts';
import type { ServerCertificate } from '../identity/server-certificate.ts';
import { discoveryChannelOptions } from '../xds/server.ts';

export interface AgentPortOptions {
  /** `[::]:15012`. */
  readonly listen: string;
  readonly certificate: ServerCertificate;
  /** Adds what is served. */
  readonly services: readonly ((server: Server) => void)[];
}

export interface AgentPort extends Closeable {
  readonly port: number;
}

export async function startAgentPort({
  listen,
  certificate,
  services,
}: AgentPortOptions): Promise<AgentPort> {
  const server = new Server({ ...discoveryChannelOptions, 'grpc.max_send_message_length': -1 });
  for (const add of services) add(server);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(listen, certificate.credentials, (error, bound) => {
      if (error === null) resolve(bound);
      else reject(HadalError.from(error, 'ERR_LISTEN', `the port for agents cannot listen on ${listen}`));
    });
  });
  return {
    port,
    close: async (force) => {
      // Streams of agents never end by themselves; they find another replica, or this one again.
      const time = deadline(closeMs, 'closing the port for agents');
      const ended = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
      const either = force === undefined ? time.signal : AbortSignal.any([time.signal, force]);
      await waitOrAbort(ended, either, 'closing the port for agents').catch(() => server.forceShutdown());
      time.clear();
    },
  };
}

const closeMs = 1_000;
