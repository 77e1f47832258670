/** Where a server listens: a port, or a unix socket for its owner alone. */
import { chmod, unlink } from 'node:fs/promises';
import { type AddressInfo, connect, type Server } from 'node:net';
import { HadalError } from '../base/errors.ts';

export type ListenAddress =
  | { readonly host?: string; readonly port: number }
  | { readonly socketPath: string };

/** `name` is the server's, for the error. */
export async function listen(server: Server, name: string, address: ListenAddress): Promise<void> {
  const where = 'port' in address ? `${address.host ?? '*'}:${address.port}` : address.socketPath;
  try {
    await listenOnce(server, address);
  } catch (caught) {
    const error = HadalError.from(caught, 'ERR_LISTEN', `${name} cannot listen on ${where}`);
    const isStale =
      error.systemCode === 'EADDRINUSE' && 'socketPath' in address && !(await answers(address.socketPath));
    if (!isStale) throw error;
    // Left over by a process that was killed.
    await unlink(address.socketPath);
    await listenOnce(server, address);
  }
  if ('socketPath' in address) await chmod(address.socketPath, 0o600);
}

function listenOnce(server: Server, address: ListenAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    const listening = () => {
      server.off('error', reject);
      resolve();
    };
    if ('port' in address)
      server.listen(
        { port: address.port, ...(address.host === undefined ? {} : { host: address.host }) },
        listening,
      );
    else server.listen(address.socketPath, listening);
  });
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path, () => done(true));
    const done = (result: boolean) => {
      socket.destroy();
      resolve(result);
    };
    socket.on('error', () => done(false));
  });
}

export function describeAddress(address: AddressInfo | string | null): string {
  if (typeof address === 'string') return `unix:${address}`;
  if (address === null) return '';
  return address.family === 'IPv6'
    ? `[${address.address}]:${address.port}`
    : `${address.address}:${address.port}`;
}
