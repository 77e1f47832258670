// An application behind a tunnel of its own: `proxy-protocol-server.ts PORT`. It reads a PROXY header of version 2 as the
// standard has it, then one line, and answers with one line of JSON that says what it understood.
import { createServer, type Socket } from 'node:net';

const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const fixedBytes = 16;

const ipv4 = (bytes: Buffer): string => bytes.join('.');
const ipv6 = (bytes: Buffer): string =>
  new URL(`http://[${(bytes.toString('hex').match(/..../g) ?? []).join(':')}]`).hostname.slice(1, -1);

function typeLengthValues(bytes: Buffer): [string, string][] {
  if (bytes.length === 0) return [];
  const end = 3 + bytes.readUInt16BE(1);
  if (end > bytes.length) throw new Error('a value goes beyond the header');
  const type = `0x${bytes.toString('hex', 0, 1)}`;
  return [[type, bytes.toString('utf8', 3, end)], ...typeLengthValues(bytes.subarray(end))];
}

function parse(header: Buffer): Record<string, unknown> {
  const family = header.readUInt8(13);
  const [size, text] = family >> 4 === 1 ? [4, ipv4] : [16, ipv6];
  const addresses = header.subarray(fixedBytes);
  const ports = 2 * size;
  return {
    version: header.readUInt8(12) >> 4,
    command: header.readUInt8(12) & 0xf,
    family,
    sourceAddress: text(addresses.subarray(0, size)),
    destinationAddress: text(addresses.subarray(size, ports)),
    sourcePort: addresses.readUInt16BE(ports),
    destinationPort: addresses.readUInt16BE(ports + 2),
    values: Object.fromEntries(typeLengthValues(addresses.subarray(ports + 4))),
  };
}

/** The answer once everything is there; undefined before. */
function answerTo(bytes: Buffer, socket: Socket): Record<string, unknown> | undefined {
  const begin = bytes.subarray(0, signature.length);
  if (!begin.equals(signature.subarray(0, begin.length)))
    return { error: 'no PROXY header', begins: bytes.toString() };
  const end = bytes.length < fixedBytes ? Number.POSITIVE_INFINITY : fixedBytes + bytes.readUInt16BE(14);
  if (bytes.indexOf('\n', end) < end) return undefined;
  const { remoteAddress, localAddress, localPort } = socket;
  return {
    ...parse(bytes.subarray(0, end)),
    payload: bytes.toString('utf8', end),
    remoteAddress,
    localAddress,
    localPort,
  };
}

createServer((socket) => {
  let bytes: Buffer = Buffer.alloc(0);
  socket.on('data', (chunk) => {
    bytes = Buffer.concat([bytes, chunk]);
    const answer = answerTo(bytes, socket);
    if (answer !== undefined) socket.end(`${JSON.stringify(answer)}\n`);
  });
  socket.on('error', () => {});
}).listen(Number(process.argv[2]), '::');
