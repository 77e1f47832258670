/** The agent of one node: a process in the node's namespace and cgroup, and the socket through which pods join. */
import type { ChildProcess } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { HadalError } from '../base/errors.ts';
import type { PodObject } from '../source/kubernetes/pod.ts';
import { netnsPath } from './layout.ts';
import type { LabNode } from './node.ts';
import type { LabPod } from './pod.ts';
import { openLog } from './pod-root.ts';

export interface AgentProcessOptions {
  /** Program and first arguments: Node and the command line's entry. */
  readonly argv: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly socket: string;
  readonly log: string;
}

export interface Answer {
  readonly status: number;
  readonly body: string;
}

const requestTimeoutMs = 15_000;

export class AgentProcess {
  readonly #node: LabNode;
  readonly #options: AgentProcessOptions;
  #child: ChildProcess | undefined;
  #exited: Promise<number> = Promise.resolve(0);

  constructor(node: LabNode, options: AgentProcessOptions) {
    this.#node = node;
    this.#options = options;
    mkdirSync(join(options.socket, '..'), { recursive: true });
  }

  get pid(): number | undefined {
    return this.isRunning ? this.#child?.pid : undefined;
  }
  get isRunning(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }
  get socket(): string {
    return this.#options.socket;
  }
  get logPath(): string {
    return this.#options.log;
  }

  start(): void {
    if (this.isRunning) return;
    const log = openLog(this.#options.log);
    log.on('error', () => {});
    const child = this.#node.spawn(this.#options.argv, { cgroup: 'system', env: this.#options.env });
    this.#child = child;
    child.stdin?.end();
    child.stdout?.pipe(log, { end: false });
    child.stderr?.pipe(log, { end: false });
    this.#exited = new Promise((resolve) => {
      child.on('close', (code, signal) => {
        log.end(`agent ended with ${code ?? signal}\n`);
        resolve(code ?? -1);
      });
      child.on('error', () => resolve(-1));
    });
  }

  /** Sends the signal and waits until the process is gone. */
  async kill(signal: NodeJS.Signals = 'SIGTERM'): Promise<number> {
    this.#child?.kill(signal);
    return await this.#exited;
  }

  /** Resolves when the agent says that it is ready; rejects with its last words when it ends before. */
  async waitReady(timeoutMs = 30_000): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    let last = 'no answer';
    while (Date.now() < deadline) {
      if (!this.isRunning) {
        throw new HadalError(
          'ERR_LAB_AGENT',
          `the agent of ${this.#node.name} ended; its log: ${this.#options.log}`,
        );
      }
      const answer = await this.get(15021, '/healthz/ready').catch((error: Error) => ({
        status: 0,
        body: error.message,
      }));
      if (answer.status === 200) return;
      last = answer.body.trim();
      await sleep(50);
    }
    throw new HadalError(
      'ERR_LAB_AGENT',
      `the agent of ${this.#node.name} is not ready after ${timeoutMs} ms: ${last}; its log: ${this.#options.log}`,
    );
  }

  /** Like a CNI plugin: returns when the pod is captured. */
  async addPod(pod: LabPod, object: PodObject): Promise<void> {
    await this.#post('/cmdadd', {
      Netns: netnsPath(pod.netns),
      PodName: pod.name,
      PodNamespace: pod.namespace,
      PodUID: pod.podUid,
      ServiceAccount: object.spec.serviceAccountName,
      Cgroup: pod.cgroup,
      IPs: pod.addresses.map((address) => ({ Interface: 'eth0', Address: address })),
    });
  }

  /** `left`: out of the mesh, but alive; its open connections go on. */
  async removePod(pod: LabPod, reason: 'deleted' | 'left'): Promise<void> {
    await this.#post('/cmddel', {
      PodName: pod.name,
      PodNamespace: pod.namespace,
      PodUID: pod.podUid,
      Reason: reason,
    });
  }

  /** HTTP from inside the node: the agent's ports are open nowhere else. */
  async get(port: number, path: string, method = 'GET'): Promise<Answer> {
    const script = `exec 3<>/dev/tcp/127.0.0.1/${port} && printf '%s' "$0" >&3 && cat <&3`;
    const head = `${method} ${path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n`;
    const result = await this.#node.exec(['bash', '-c', script, head], { timeoutMs: requestTimeoutMs });
    const end = result.stdout.indexOf('\r\n\r\n');
    if (end < 0)
      throw new HadalError(
        'ERR_LAB_AGENT',
        `no answer on port ${port} of ${this.#node.name}: ${result.stderr.trim()}`,
      );
    const status = Number(result.stdout.split(' ', 2)[1]);
    return { status, body: result.stdout.slice(end + 4) };
  }

  async #post(path: string, body: unknown): Promise<void> {
    const answer = await postJson(this.#options.socket, path, body);
    if (answer.status < 200 || answer.status > 299) {
      throw new HadalError(
        'ERR_LAB_AGENT',
        `the agent of ${this.#node.name} answered ${path} with ${answer.status}: ${answer.body.trim()}`,
      );
    }
  }
}

function postJson(socketPath: string, path: string, body: unknown): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const text = JSON.stringify(body);
    const call = request(
      {
        socketPath,
        path,
        method: 'POST',
        timeout: requestTimeoutMs,
        headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }),
        );
        response.on('error', reject);
      },
    );
    call.on('timeout', () => call.destroy(new Error(`no answer within ${requestTimeoutMs} ms`)));
    call.on('error', (cause) =>
      reject(new HadalError('ERR_LAB_AGENT', `${path} on ${socketPath}: ${cause.message}`, { cause })),
    );
    call.end(text);
  });
}
