/** The pods of the policy cases as pods of a lab, programs that dial in their place, and the mesh state of a case. */
import type { ChildProcess } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parse } from 'yaml';
import { openAuthority } from '../../src/identity/authority-directory.ts';
import { createCsr } from '../../src/identity/csr.ts';
import { generateKey, keyToPem } from '../../src/identity/keys.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { packageRoot } from '../../src/lab/package-root.ts';
import { spawnPlaced } from '../../src/lab/process.ts';
import { authorizationPolicyObject } from '../../src/source/kubernetes/authorization-policy.ts';
import type { KnownObject } from '../../src/source/kubernetes/objects.ts';
import { peerAuthenticationObject } from '../../src/source/kubernetes/peer-authentication.ts';
import { policyDocument } from '../../src/source/state-document.ts';
import { translateObjects } from '../../src/source/translate/mesh.ts';
import { viewOf } from '../../src/source/translate/object-view.ts';
import { policiesOf } from '../../src/source/translate/workload-policies.ts';
import type { CasePolicies, Manifest } from '../fixtures/policy-cases/policy-case.ts';
import {
  type CalledName,
  type CallerName,
  type PodName,
  principalOf,
  servedPorts,
  type WorldAddresses,
  worldPods,
} from '../fixtures/policy-cases/world.ts';
import type { Call, CallResult } from './programs/policy-dialer.ts';
import { namespace, pod } from './world.ts';

const program = join('test', 'mesh', 'programs', 'policy-dialer.ts');
const nodes = { 1: 'a', 2: 'b' } as const;
const greeter = `for (const port of ${JSON.stringify(servedPorts)})
  require('net').createServer((s) => { s.on('error', () => {}); s.end('hello'); }).listen(port, '::')`;
/** Below the ports that the kernel gives away. */
const firstPorts = { 'as the pod': 25_000, 'past its capture': 20_000 } as const;
const called: readonly PodName[] = ['server', 'clerk'];

export const callers = Object.keys(worldPods).filter(
  (name): name is CallerName => !called.includes(name as PodName),
);

/** Pods are made one after another in the order of their names' table, so that neighbours have neighbouring addresses. */
export const policyManifests: readonly string[] = [
  namespace('shop', { mesh: true }),
  namespace('bank', { mesh: true }),
  ...Object.entries(worldPods).map(([name, { namespace: within, serviceAccount, inMesh, node, labels }]) =>
    pod(`${within}/${name}`, nodes[node], {
      serviceAccount,
      labels,
      ...(inMesh ? {} : { mesh: false }),
      ...(called.includes(name as PodName)
        ? { command: ['node', '-e', greeter], probe: { tcpSocket: { port: servedPorts[0] } } }
        : {}),
    }),
  ),
];

export const trustedBesides = 'partner.example';

export function addressesOf(lab: Lab): WorldAddresses {
  const entries = Object.keys(worldPods).map((name) => {
    const { v4, v6 } = lab.pod(name);
    return [name, { v4, v6 }] as const;
  });
  const range = (node: 1 | 2) => lab.node(nodes[node]).link.podRange;
  return {
    pods: Object.fromEntries(entries) as WorldAddresses['pods'],
    ranges: { 1: range(1), 2: range(2) },
  };
}

/** A program that dials in the place of a pod: as a process of the pod, or past its capture, as from a pod outside the mesh. */
export class Dialer {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (result: CallResult) => void>();
  readonly #firstPort: number;
  #last = 0;

  constructor(lab: Lab, caller: CallerName, how: keyof typeof firstPorts) {
    const inPod = lab.pod(caller);
    this.#firstPort = firstPorts[how];
    this.#child =
      how === 'as the pod'
        ? inPod.spawn(['node', join('/opt/hadal/package', program)])
        : // Beside the nodes' cgroups, where no hook of an agent is.
          spawnPlaced(
            { cgroup: join(lab.node('a').layout.systemCgroup, '..', '..', 'tools'), netns: inPod.netns },
            [process.execPath, join(packageRoot(), program)],
            { env: process.env },
          );
    const { stdout, stderr } = this.#child;
    if (stdout === null) throw new Error('the dialer has no output');
    stderr?.on('data', (text: Buffer) => console.error(`${caller}: ${text}`));
    createInterface({ input: stdout }).on('line', (line) => {
      const result = JSON.parse(line) as CallResult;
      this.#waiting.get(result.id)?.(result);
      this.#waiting.delete(result.id);
    });
  }

  async call(call: Omit<Call, 'id' | 'localPort'>): Promise<CallResult & { readonly localPort: number }> {
    const id = ++this.#last;
    const localPort = this.#firstPort + id;
    const answered = new Promise<CallResult>((resolve) => this.#waiting.set(id, resolve));
    this.#child.stdin?.write(`${JSON.stringify({ ...call, id, localPort })}\n`);
    return { ...(await answered), localPort };
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }
}

/** A certificate of the lab's own authority for each caller that has an identity; the directory of it. */
export async function writeCertificates(lab: Lab): Promise<ReadonlyMap<CallerName, string>> {
  const authority = await openAuthority(join(lab.directory, 'authority'), {
    trustDomains: ['cluster.local', trustedBesides],
  });
  const written = await Promise.all(
    callers.map(async (caller) => {
      const principal = principalOf(caller);
      if (principal === undefined) return [];
      const key = await generateKey();
      const identity = `spiffe://${principal}`;
      const csr = await createCsr(identity, key);
      const signed = await authority.sign({ csr, identity, lifetimeMs: 3_600_000 });
      const directory = join(lab.directory, 'tools', caller);
      mkdirSync(directory, { recursive: true });
      writeFileSync(join(directory, 'chain.pem'), signed.chain.join('\n'));
      writeFileSync(join(directory, 'key.pem'), keyToPem(key));
      writeFileSync(join(directory, 'roots.pem'), signed.roots);
      chmodSync(join(directory, 'key.pem'), 0o600);
      return [[caller, directory] as const];
    }),
  );
  return new Map(written.flat());
}

type Document = { workloads: Record<string, unknown>[]; policies: unknown[] };

/** Puts the policies of a situation in the place of those before, and waits until they are in force. */
export class PolicyState {
  readonly #lab: Lab;
  readonly #base: Document;

  constructor(lab: Lab) {
    this.#lab = lab;
    this.#base = parse(readFileSync(lab.stateFile, 'utf8')) as Document;
  }

  async become({ objects, policies, names }: CasePolicies): Promise<void> {
    const parsed = objects.map(parseManifest);
    const document: Document = {
      ...this.#base,
      workloads: this.#base.workloads.map((workload) => {
        const own = called.find((name) => workload.name === name) as CalledName | undefined;
        if (own === undefined) return workload;
        const { namespace: within, labels } = worldPods[own];
        // A policy that the case itself brings is named only by pods of its own namespace.
        const named = names.filter((name) => name.startsWith(`${within}/`));
        const selecting = policiesOf(viewOf(parsed), { namespace: within, labels });
        return { ...workload, authorizationPolicies: [...selecting, ...named] };
      }),
      policies: [...translateObjects(parsed).policies, ...policies].map(policyDocument),
    };
    const { stateFile } = this.#lab;
    writeFileSync(`${stateFile}.new`, JSON.stringify(document), { mode: 0o600 });
    renameSync(`${stateFile}.new`, stateFile);
    const lagging = await this.#lab.meshInForce();
    if (lagging.length > 0) throw new Error(`a case's policies are not in force on ${lagging.join(', ')}`);
  }
}

function parseManifest(manifest: Manifest): KnownObject {
  return manifest.kind === 'PeerAuthentication'
    ? peerAuthenticationObject.parse(manifest)
    : authorizationPolicyObject.parse(manifest);
}
