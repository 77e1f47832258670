/** HTTP to the programs of a lab: through their unix sockets, or from inside the namespace in which their ports are open. */
import { request } from 'node:http';
import { HadalError } from '../base/errors.ts';
import type { CommandOptions, CommandResult } from './command.ts';

export interface Answer {
  readonly status: number;
  readonly body: string;
}

export const requestTimeoutMs = 15_000;

export function callSocket(socketPath: string, path: string, method: string, text: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
      host: 'localhost',
    };
    const sent = request({ socketPath, path, method, timeout: requestTimeoutMs, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }),
      );
      response.on('error', reject);
    });
    sent.on('timeout', () => sent.destroy(new Error(`no answer within ${requestTimeoutMs} ms`)));
    sent.on('error', (cause) =>
      reject(new HadalError('ERR_LAB_AGENT', `${path} on ${socketPath}: ${cause.message}`, { cause })),
    );
    sent.end(text);
  });
}

export type Exec = (argv: readonly string[], options: CommandOptions) => Promise<CommandResult>;

/** `exec` runs a program where the port is open; `name` is for the error. */
export async function callPort(
  exec: Exec,
  name: string,
  port: number,
  path: string,
  method = 'GET',
): Promise<Answer> {
  const script = `exec 3<>/dev/tcp/127.0.0.1/${port} && printf '%s' "$0" >&3 && cat <&3`;
  const head = `${method} ${path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n`;
  const result = await exec(['bash', '--norc', '-c', script, head], { timeoutMs: requestTimeoutMs });
  const end = result.stdout.indexOf('\r\n\r\n');
  if (end < 0)
    throw new HadalError('ERR_LAB_AGENT', `no answer on port ${port} of ${name}: ${result.stderr.trim()}`);
  return { status: Number(result.stdout.split(' ', 2)[1]), body: result.stdout.slice(end + 4) };
}
