/** The one port that agents talk to: gRPC over TLS, with the certificate of the mesh's own authority. */
import { createServer, type Server as NetServer } from 'node:net';
import { Server } from '@grpc/grpc-js';
import { deadline, waitOrAbort } from '../base/abort.ts';
import { HadalError } from '../base/errors.ts';
import type { Closeable } from '../base/lifecycle.ts';
import type { ServerCertificate } from '../identity/server-certificate.ts';
import { discoveryChannelOptions } from '../xds/server.ts';
import type { ConnectionGate } from './connection-gate.ts';

export interface AgentPortOptions {
  /** `[::]:15012`. */
  readonly listen: string;
  readonly certificate: ServerCertificate;
  /** Says of each connection whether it may stay, before anything of it is read. */
  readonly gate: ConnectionGate;
  /** Adds what is served. */
  readonly services: readonly ((server: Server) => void)[];
}

export interface AgentPort extends Closeable {
  readonly port: number;
}

export async function startAgentPort(options: AgentPortOptions): Promise<AgentPort> {
  const { listen, certificate, gate, services } = options;
  const server = new Server({ ...discoveryChannelOptions, 'grpc.max_send_message_length': -1 });
  for (const add of services) add(server);
  // gRPC's own listener takes whatever comes, and would make a TLS session of it before anybody is asked.
  const injector = server.createConnectionInjector(certificate.credentials);
  // Not half open: HTTP/2 would not hear of clients that have gone, and their calls would stay.
  const sockets = createServer({ noDelay: true }, (socket) => {
    if (!gate.admit(socket)) return;
    // What becomes of it TLS and HTTP/2 notice by themselves.
    socket.on('error', () => {});
    injector.injectConnection(socket);
  });
  const port = await listenOn(sockets, listen);
  return {
    port,
    close: async (force) => {
      sockets.close();
      // Streams of agents never end by themselves; they find another replica, or this one again.
      const time = deadline(closeMs, 'closing the port for agents');
      const ended = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
      const either = force === undefined ? time.signal : AbortSignal.any([time.signal, force]);
      await waitOrAbort(ended, either, 'closing the port for agents').catch(() => server.forceShutdown());
      time.clear();
      gate.close();
    },
  };
}

function listenOn(sockets: NetServer, listen: string): Promise<number> {
  const [, host = '', port = ''] = /^\[?([^\]]*)\]?:(\d+)$/.exec(listen) ?? [];
  return new Promise((resolve, reject) => {
    sockets.once('error', (error) => {
      reject(HadalError.from(error, 'ERR_LISTEN', `the port for agents cannot listen on ${listen}`));
    });
    sockets.listen({ host, port: Number(port), backlog: listenBacklog }, () => {
      const address = sockets.address();
      // Without descriptors no connection can be taken; those that are there end some day.
      sockets.on('error', () => {});
      resolve(typeof address === 'object' ? (address?.port ?? 0) : 0);
    });
  });
}

/** All agents come at once when a control plane starts. */
const listenBacklog = 4_096;
const closeMs = 1_000;
