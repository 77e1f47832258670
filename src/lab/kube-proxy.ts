/**
 * Plays kube-proxy for pods outside the mesh, so that service addresses lead somewhere for them too: nftables in each
 * node's namespace. Only their addresses are translated; a meshed pod whose capture failed must find nothing at a
 * service address, and its connections are not even tracked.
 */
import type { Service } from '../model/service.ts';
import { serviceKey } from '../model/service.ts';
import type { MeshResources } from '../model/snapshot.ts';
import type { LabLog } from './lab-log.ts';
import type { LabNode } from './node.ts';
import type { LabPod } from './pod.ts';

const table = 'inet hadal-kube-proxy';
/** A table that is not there cannot be deleted, so it is declared first. */
const removal = `table ${table}\ndelete table ${table}\n`;

type Family = 'ip' | 'ip6';

interface Target {
  readonly address: string;
  readonly port: number;
}

export class KubeProxy {
  readonly #log: LabLog;
  readonly #installed = new Map<string, string>();
  #work: Promise<void> = Promise.resolve();
  #broken = false;

  constructor(log: LabLog) {
    this.#log = log;
  }

  /** Whether service addresses work from outside the mesh; false once nft could not be run. */
  get works(): boolean {
    return !this.#broken;
  }

  update(nodes: Iterable<LabNode>, pods: readonly LabPod[], mesh: MeshResources): void {
    const outside = pods.filter((pod) => !pod.enrolled);
    for (const node of nodes) {
      const local = outside.filter((pod) => pod.node === node.name);
      const script = kubeProxyScript(
        mesh,
        local.flatMap((pod) => pod.addresses),
      );
      this.#work = this.#work.then(() => this.#install(node, script));
    }
  }

  /** Resolves when what was asked for so far is in force. */
  settled(): Promise<void> {
    return this.#work;
  }

  async #install(node: LabNode, script: string): Promise<void> {
    const known = this.#installed.get(node.name) ?? '';
    if (this.#broken || script === known) return;
    // One transaction: connections meet the old rules or the new ones.
    const result = await node.exec(['nft', '-f', '-'], { input: removal + script });
    if (result.code === 0) {
      this.#installed.set(node.name, script);
      return;
    }
    this.#broken = true;
    const why = result.stderr.trim().split('\n')[0] ?? '';
    this.#log.warn(
      `pods outside the mesh reach no service addresses, for nft failed (apt-get install nftables?): ${why}`,
    );
  }
}

/** '' when no pod of the node needs it. */
export function kubeProxyScript(mesh: MeshResources, outside: readonly string[]): string {
  const rules = mesh.services.flatMap((service) => serviceRules(service, mesh));
  if (rules.length === 0 || outside.length === 0) return '';
  const v4 = outside.filter((address) => !address.includes(':'));
  const v6 = outside.filter((address) => address.includes(':'));
  return `table ${table} {
  set outside4 { type ipv4_addr; elements = { ${v4.join(', ')} } }
  set outside6 { type ipv6_addr; elements = { ${v6.join(', ')} } }
  chain untracked {
    type filter hook prerouting priority raw;
    meta nfproto ipv4 ip saddr != @outside4 ip daddr != @outside4 notrack
    meta nfproto ipv6 ip6 saddr != @outside6 ip6 daddr != @outside6 notrack
  }
  chain services {
    type nat hook prerouting priority dstnat;
${rules.map((rule) => `    ${rule}`).join('\n')}
  }
}
`;
}

function serviceRules(service: Service, mesh: MeshResources): string[] {
  return service.addresses.flatMap(({ address }) => {
    const family: Family = address.includes(':') ? 'ip6' : 'ip';
    const set = family === 'ip6' ? 'outside6' : 'outside4';
    return service.ports.map((port) => {
      const targets = endpointTargets(service, port.servicePort, family, mesh);
      const match = `${family} saddr @${set} ${family} daddr ${address} tcp dport ${port.servicePort}`;
      return targets.length === 0
        ? `${match} drop`
        : `${match} dnat ${family} to ${destination(targets, family)}`;
    });
  });
}

function destination(targets: readonly Target[], family: Family): string {
  const [only, ...more] = targets;
  if (only !== undefined && more.length === 0) {
    return family === 'ip6' ? `[${only.address}]:${only.port}` : `${only.address}:${only.port}`;
  }
  const elements = targets.map(({ address, port }, index) => `${index} : ${address} . ${port}`);
  return `numgen random mod ${targets.length} map { ${elements.join(', ')} }`;
}

function endpointTargets(
  service: Service,
  servicePort: number,
  family: Family,
  mesh: MeshResources,
): Target[] {
  const key = serviceKey(service);
  return mesh.workloads.flatMap((workload) => {
    const ports = workload.services.find((membership) => membership.service === key)?.ports ?? [];
    const port = ports.find((candidate) => candidate.servicePort === servicePort);
    const address = workload.addresses.find((candidate) => candidate.includes(':') === (family === 'ip6'));
    if (port === undefined || address === undefined || workload.status !== 'HEALTHY') return [];
    return [{ address, port: port.targetPort }];
  });
}
