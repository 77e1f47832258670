import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { HadalError } from '../base/errors.ts';
import type { NativeNet } from '../native/types.ts';
import type { PodSockets } from './sockets.ts';

/** Opens a connection to itself over loopback and destroys it: some kernels accept the request and lack the operation. */
export async function probeSockDestroy(native: NativeNet): Promise<string> {
  const server = createServer((socket) => socket.on('error', () => {}));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const client = connect(port, '127.0.0.1');
  try {
    await once(client, 'connect');
    // ECONNABORTED is what its owner sees of it, and what we wait for.
    const ended = once(client, 'error', { signal: AbortSignal.timeout(2_000) });
    // Nobody waits for it when the kernel refuses.
    ended.catch(() => {});
    destroyOwn(native, client);
    await ended;
    return 'a connection of our own was ended by it';
  } finally {
    client.destroy();
    server.close();
  }
}

/** Why no connection can be ended here; undefined when they can. */
export async function endingObstacle(
  native: NativeNet,
  { destroysBy }: Pick<PodSockets, 'destroysBy'>,
): Promise<string | undefined> {
  if (destroysBy === 'bpf_sock_destroy') return undefined;
  try {
    await probeSockDestroy(native);
    return undefined;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return `this kernel ends no connection that a policy refuses later (sock-destroy in hadal check): ${why}`;
  }
}

function destroyOwn(native: NativeNet, { localPort, remotePort }: Socket): void {
  const netnsFd = native.openNetns('/proc/self/ns/net');
  try {
    const found = native
      .tcpSockets(netnsFd)
      .find((socket) => socket.localPort === localPort && socket.remotePort === remotePort);
    if (found === undefined)
      throw new HadalError('ERR_KERNEL_REQUIREMENT', 'inet_diag does not list our own connection');
    if (!native.destroyTcpSocket(netnsFd, found)) {
      throw new HadalError(
        'ERR_KERNEL_REQUIREMENT',
        'the kernel says that our connection is gone, which it is not',
      );
    }
  } finally {
    native.closeFd(netnsFd);
  }
}
