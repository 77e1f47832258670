/**
 * The control plane of a lab: the program itself, in a namespace of its own that has a link to each node, apart from the fabric.
 * The lab plays the rest of the cluster: it writes the objects that the control plane reads.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { JoinKeys } from '../identity/join-keys.ts';
import { makeJoinToken } from '../identity/join-token.ts';
import type { MeshNames } from '../source/translate/context.ts';
import { type AddressPlan, controlAddress } from './address-plan.ts';
import { type Answer, callPort, callSocket } from './admin-call.ts';
import { createCgroup } from './cgroup.ts';
import { ClusterFiles } from './cluster-files.ts';
import { capture } from './command.ts';
import { connectControl } from './control-network.ts';
import { LabProcess } from './lab-process.ts';
import { type LabLayout, netnsName } from './layout.ts';
import { createHostNetns } from './network.ts';
import type { LabNode } from './node.ts';
import { placed, spawnPlaced } from './process.ts';

export interface ControlPlaneOptions {
  readonly layout: LabLayout;
  readonly plan: AddressPlan;
  readonly names: MeshNames;
  readonly nodes: readonly LabNode[];
  readonly env: Readonly<Record<string, string>>;
  /** Node and the entry of the command line. */
  readonly program: readonly string[];
  /** Certificates live no longer. */
  readonly certificateLifetimeMs: number | undefined;
  readonly onChange: () => void;
}

const port = 15_012;
const tokenLifetimeMs = 24 * 3_600_000;

export class LabControlPlane extends LabProcess {
  readonly files: ClusterFiles;
  /** `10.192.0.250:15012`, for the agents. */
  readonly address: string;
  readonly rootFile: string;
  /** In its certificate. */
  readonly serverName = 'hadal-control-plane';
  readonly #directory: string;
  readonly #joinKeys: JoinKeys;
  readonly #place: { readonly netns: string; readonly cgroup: string };

  constructor(options: ControlPlaneOptions) {
    const { layout, plan, program, onChange } = options;
    const directory = join(layout.directory, 'control-plane');
    const place = { netns: controlNetns(layout), cgroup: join(layout.cgroup, 'control-plane') };
    const host = controlAddress(plan.slot).v4;
    const files = new ClusterFiles(join(directory, 'objects'));
    super({
      name: 'control plane',
      spawn: () =>
        spawnPlaced(place, [...program, 'control-plane'], {
          env: { ...process.env, ...environment(options, directory, files.directory, host) },
        }),
      log: join(layout.directory, 'control-plane.log'),
      onChange,
      askReady: () => this.get(15_021, '/healthz/ready'),
    });
    this.files = files;
    this.address = `${host}:${port}`;
    this.rootFile = join(directory, 'root-cert.pem');
    this.#directory = directory;
    this.#joinKeys = new JoinKeys(join(directory, 'data', 'join-keys'));
    this.#place = place;
  }

  /** What an agent of this node shows. Returns the file's path. */
  async giveToken(node: LabNode): Promise<string> {
    const { token, key } = makeJoinToken(node.name, tokenLifetimeMs);
    await this.#joinKeys.add(key);
    const path = join(node.layout.directory, 'join-token');
    writeFileSync(path, token, { mode: 0o600 });
    return path;
  }

  /** What the admin server answers. */
  async admin<T>(path: string): Promise<T> {
    const { body } = await callSocket(join(this.#directory, 'run', 'admin.sock'), path, 'GET', '');
    return JSON.parse(body) as T;
  }

  /** The text of /metrics. */
  async metrics(): Promise<string> {
    return (await this.get(15_020, '/metrics')).body;
  }

  get(adminPort: number, path: string): Promise<Answer> {
    return callPort(
      (argv, options) => capture(placed(this.#place, argv), options),
      'the control plane',
      adminPort,
      path,
    );
  }
}

const controlNetns = (layout: LabLayout) => netnsName(layout.name, 'control');

/** Makes namespace, links and directories; the program is not started yet. */
export async function prepareControlPlane(options: ControlPlaneOptions): Promise<LabControlPlane> {
  const { layout, plan, nodes } = options;
  const netns = controlNetns(layout);
  createCgroup(join(layout.cgroup, 'control-plane'));
  mkdirSync(join(layout.directory, 'control-plane'), { recursive: true, mode: 0o700 });
  await createHostNetns(netns);
  const { v4 } = controlAddress(plan.slot);
  await connectControl(
    netns,
    v4,
    nodes.map(({ link }) => link),
  );
  return new LabControlPlane(options);
}

function environment(
  { names, env, certificateLifetimeMs }: ControlPlaneOptions,
  directory: string,
  objects: string,
  host: string,
): NodeJS.ProcessEnv {
  return {
    HADAL_DIRECTORY: objects,
    HADAL_DATA_DIR: join(directory, 'data'),
    HADAL_RUNTIME_DIR: join(directory, 'run'),
    HADAL_ROOT_FILE: join(directory, 'root-cert.pem'),
    HADAL_LISTEN: `${host}:${port}`,
    HADAL_SERVER_NAMES: `${host},hadal-control-plane`,
    HADAL_CLUSTER_ID: names.clusterId,
    HADAL_NETWORK: names.network,
    HADAL_TRUST_DOMAIN: names.trustDomain,
    HADAL_CLUSTER_DOMAIN: names.clusterDomain,
    HADAL_ROOT_NAMESPACE: names.rootNamespace,
    ...(certificateLifetimeMs === undefined
      ? {}
      : { HADAL_MAX_CERTIFICATE_LIFETIME: `${certificateLifetimeMs}ms` }),
    ...env,
  };
}
