/** The agent of one node: a process in the node's namespace and cgroup, and the socket through which pods join. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { HadalError } from '../base/errors.ts';
import { exclusionRequest } from '../enrolment/request-exclusions.ts';
import type { NodeConnections } from '../runtime/admin-server.ts';
import type { PodObject } from '../source/kubernetes/pod.ts';
import { podCaptureSettings } from '../source/translate/capture-settings.ts';
import { type Answer, callPort, callSocket } from './admin-call.ts';
import { LabProcess } from './lab-process.ts';
import { netnsPath } from './layout.ts';
import type { LabNode } from './node.ts';
import type { LabPod } from './pod.ts';

export interface AgentProcessOptions {
  /** Program and first arguments: Node and the command line's entry. */
  readonly argv: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly socket: string;
  readonly log: string;
  /** The process began or ended. */
  readonly onChange: () => void;
}

export type { Answer } from './admin-call.ts';

export class AgentProcess extends LabProcess {
  readonly #node: LabNode;
  readonly #options: AgentProcessOptions;

  constructor(node: LabNode, options: AgentProcessOptions) {
    super({
      name: `agent of ${node.name}`,
      spawn: () => node.spawn(options.argv, { cgroup: 'system', env: options.env }),
      log: options.log,
      onChange: options.onChange,
      askReady: () => this.get(15021, '/healthz/ready'),
    });
    this.#node = node;
    this.#options = options;
    mkdirSync(join(options.socket, '..'), { recursive: true });
  }

  get socket(): string {
    return this.#options.socket;
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
      ...captureWishes(object),
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
    const answer = await callSocket(join(this.#options.socket, '..', 'admin.sock'), path, method, '');
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
  get(port: number, path: string, method = 'GET'): Promise<Answer> {
    const exec = this.#node.exec.bind(this.#node);
    return callPort(exec, this.#node.name, port, path, method);
  }

  async #post(path: string, body: unknown): Promise<void> {
    const answer = await callSocket(this.#options.socket, path, 'POST', JSON.stringify(body));
    if (answer.status < 200 || answer.status > 299) throw this.#refused(path, answer);
  }

  #refused(path: string, { status, body }: Answer): HadalError {
    const message = `the agent of ${this.#node.name} answered ${path} with ${status}: ${body.trim()}`;
    return new HadalError('ERR_LAB_AGENT', message);
  }
}

/** As a CNI plugin tells it from the pod's annotations. */
export function captureWishes(object: PodObject): Readonly<Record<string, unknown>> {
  const { bypassInbound, captureDns, turbo, virtualInterfaces, exclusions } = podCaptureSettings(object);
  return {
    ...(captureDns === undefined ? {} : { DnsCapture: captureDns }),
    ...(bypassInbound ? { BypassInboundCapture: true } : {}),
    ...(turbo ? { Turbo: true } : {}),
    ...(virtualInterfaces.length > 0 ? { VirtualInterfaces: virtualInterfaces } : {}),
    ...(exclusions === undefined ? {} : exclusionRequest(exclusions)),
  };
}
