/** Asks an agent's admin server. */
import { request } from 'node:http';
import { HadalError } from '../base/errors.ts';
import type { AgentAddress } from './agent-address.ts';

const timeoutMs = 30_000;
/** `/config_dump` of a large mesh is tens of megabytes. */
const maxAnswerBytes = 512 * 1024 * 1024;

export async function askAgent<T>(agent: AgentAddress, path: string, signal?: AbortSignal): Promise<T> {
  const { status, body } = await get(agent, path, signal);
  if (status !== 200) {
    throw new HadalError(
      'ERR_ADMIN',
      `the agent at ${describeAddress(agent)} answered ${path} with ${status}: ${body.trim().slice(0, 300)}`,
      { details: { status } },
    );
  }
  try {
    return JSON.parse(body) as T;
  } catch (error) {
    throw new HadalError(
      'ERR_ADMIN',
      `${describeAddress(agent)} answered ${path} with something that is not JSON; is it an agent?`,
      {
        cause: error,
      },
    );
  }
}

export type AgentAnswer<T> =
  | { readonly agent: AgentAddress; readonly value: T }
  | { readonly agent: AgentAddress; readonly error: HadalError };

/** All at once; an agent that fails does not hide the others. */
export function askAgents<T>(agents: readonly AgentAddress[], path: string): Promise<AgentAnswer<T>[]> {
  return Promise.all(
    agents.map(async (agent) => {
      try {
        return { agent, value: await askAgent<T>(agent, path) };
      } catch (error) {
        return { agent, error: HadalError.from(error, 'ERR_ADMIN') };
      }
    }),
  );
}

function get(
  { target, ...agent }: AgentAddress,
  path: string,
  signal?: AbortSignal,
): Promise<{ status: number; body: string }> {
  const where = describeAddress({ target, ...agent });
  return new Promise((resolve, reject) => {
    const failed = (error: unknown) => reject(unreachable(error, where));
    const call = request(
      {
        ...target,
        path,
        timeout: timeoutMs,
        headers: { host: 'localhost', connection: 'close' },
        agent: false,
        ...(signal === undefined ? {} : { signal }),
      },
      (response) => {
        const parts: Buffer[] = [];
        let length = 0;
        response.on('data', (part: Buffer) => {
          parts.push(part);
          length += part.length;
          if (length > maxAnswerBytes)
            response.destroy(new Error(`the answer is longer than ${maxAnswerBytes} bytes`));
        });
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(parts).toString() }),
        );
        response.on('error', failed);
      },
    );
    call.on('timeout', () => call.destroy(new Error(`no answer within ${timeoutMs / 1000} s`)));
    call.on('error', failed);
    call.end();
  });
}

function unreachable(error: unknown, where: string): HadalError {
  const failure = HadalError.from(error, 'ERR_ADMIN');
  const isAbsent = failure.systemCode === 'ECONNREFUSED' || failure.systemCode === 'ENOENT';
  if (!isAbsent) return HadalError.from(error, 'ERR_ADMIN', `asking the agent at ${where}`);
  return new HadalError(
    'ERR_ADMIN',
    `no agent answers at ${where}; is one running here? --node, --lab and --admin choose another`,
    { cause: error },
  );
}

export function describeAddress({ target }: AgentAddress): string {
  return 'socketPath' in target ? `unix:${target.socketPath}` : `http://${target.host}:${target.port}`;
}
