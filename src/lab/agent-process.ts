/** The agent of one node: a process in the node's namespace and cgroup, and the socket through which pods join. */
import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { HadalError } from '../base/errors.ts';
import type { NodeConnections } from '../runtime/admin-server.ts';
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
  /** The process began or ended. */
  readonly onChange: () => void;
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
    this.#options.onChange();
    child.stdin?.end();
    child.stdout?.pipe(log, { end: false });
    child.stderr?.pipe(log, { end: false });
    this.#exited = new Promise((resolve) => {
      child.on('close', (code, signal) => {
        log.end(`agent ended with ${code ?? signal}\n`);
        this.#options.onChange();
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
        throw new HadalError('ERR_LAB_AGENT', `the agent of ${this.#node.name} ended: ${this.lastWords()}`);
      }
      const answer = await this.get(15021, '/healthz/ready').catch((error: Error) => ({
        status: 0,
        body: error.message,
      }));
      if (answer.status === 200) return;
      last = answer.body.trim();
      await sleep(50);
    }
    const why = `${last}; ${this.lastWords()}`;
    throw new HadalError(
      'ERR_LAB_AGENT',
      `the agent of ${this.#node.name} is not ready after ${timeoutMs} ms: ${why}`,
    );
  }

  /** The end of its log, which goes with the lab. */
  lastWords(lines = 20): string {
    const log = existsSync(this.#options.log) ? readFileSync(this.#options.log, 'utf8').trim() : '';
    return log === '' ? 'it said nothing' : `it said:\n${log.split('\n').slice(-lines).join('\n')}`;
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

  /** What the admin server answers, through its unix socket. */
  async admin<T>(path: string, method: 'GET' | 'POST' = 'GET'): Promise<T> {
    const answer = await call(join(this.#options.socket, '..', 'admin.sock'), path, method, '');
    if (answer.status !== 200) throw this.#refused(path, answer);
    return JSON.parse(answer.body) as T;
  }

  /** Live and just ended connections, as `hadal connections -o json` has them. */
  async connections(query = ''): Promise<NodeConnections> {
    return await this.admin<NodeConnections>(`/connections${query === '' ? '' : `?${query}`}`);
  }

  /** The text of 15020. */
  async metrics(): Promise<string> {
    return (await this.get(15020, '/metrics')).body;
  }

  /** HTTP from inside the node: the agent's ports are open nowhere else. */
  async get(port: number, path: string, method = 'GET'): Promise<Answer> {
    const script = `exec 3<>/dev/tcp/127.0.0.1/${port} && printf '%s' "$0" >&3 && cat <&3`;
    const head = `${method} ${path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n`;
    const result = await this.#node.exec(['bash', '--norc', '-c', script, head], {
      timeoutMs: requestTimeoutMs,
    });
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
    const answer = await call(this.#options.socket, path, 'POST', JSON.stringify(body));
    if (answer.status < 200 || answer.status > 299) throw this.#refused(path, answer);
  }

  #refused(path: string, { status, body }: Answer): HadalError {
    const message = `the agent of ${this.#node.name} answered ${path} with ${status}: ${body.trim()}`;
    return new HadalError('ERR_LAB_AGENT', message);
  }
}

function call(socketPath: string, path: string, method: string, text: string): Promise<Answer> {
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
