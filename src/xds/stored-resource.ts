/** A resource as the store holds it: encoded once, for all who subscribe. */
import { hash } from 'node:crypto';
import { parseAddress } from '../model/address.ts';
import { type Authorization, policyKey } from '../model/authorization.ts';
import { type Cidr, createCidr } from '../model/cidr.ts';
import { type Service, serviceKey } from '../model/service.ts';
import type { MeshResources } from '../model/snapshot.ts';
import type { Workload } from '../model/workload.ts';
import { DeltaDiscoveryResponse } from '../proto/discovery.gen.ts';
import { Workload as WorkloadMessage } from '../proto/workload.gen.ts';
import { encodeAuthorization, encodeServiceAddress, encodeWorkloadAddress } from './codec.ts';
import { workloadToMessage } from './codec-message.ts';
import { addressType, authorizationType, workloadType } from './type-urls.ts';
import { messageBytes } from './wire-writer.ts';

export type ResourceKind = keyof MeshResources;

/** Addresses of a service that are a range. */
export interface NetworkRange {
  readonly network: string;
  readonly cidr: Cidr;
}

const versionLength = 16;

/** Equal bytes have equal versions, in every replica and after every restart. */
function versionOf(bytes: Uint8Array): string {
  return hash('sha256', bytes, 'base64url').slice(0, versionLength);
}

export class StoredResource {
  readonly kind: ResourceKind;
  readonly name: string;
  readonly version: string;
  /** `network/address` under which it is asked for besides its name. */
  readonly aliases: readonly string[];
  readonly ranges: readonly NetworkRange[];
  /** Services of which it is an endpoint. */
  readonly services: readonly string[];
  readonly #entry: Uint8Array;
  readonly #workload: Workload | undefined;
  #workloadEntry: Uint8Array | undefined;

  private constructor(
    kind: ResourceKind,
    name: string,
    bytes: Uint8Array,
    links: Partial<Pick<StoredResource, 'aliases' | 'ranges' | 'services'>> & {
      readonly workload?: Workload;
    } = {},
  ) {
    this.kind = kind;
    this.name = name;
    this.version = versionOf(bytes);
    this.aliases = links.aliases ?? [];
    this.ranges = links.ranges ?? [];
    this.services = links.services ?? [];
    this.#workload = links.workload;
    this.#entry = this.#encodeEntry(kind === 'policies' ? authorizationType : addressType, bytes);
  }

  static workload(workload: Workload): StoredResource {
    // Pods in the host's network share its address: asked for an address, they are not meant.
    const addresses = workload.networkMode === 'HOST_NETWORK' ? [] : workload.addresses;
    return new StoredResource('workloads', workload.uid, encodeWorkloadAddress(workload), {
      aliases: addresses.map((address) => `${workload.network}/${address}`),
      services: workload.services.map(({ service }) => service),
      workload,
    });
  }

  static service(service: Service): StoredResource {
    const isWhole = (address: string, length: number | undefined) =>
      length === undefined || length === (address.includes(':') ? 128 : 32);
    const single = service.addresses.filter(({ address, length }) => isWhole(address, length));
    const ranges = service.addresses.flatMap(({ network, address, length }) => {
      const parsed = parseAddress(address);
      if (parsed === undefined || length === undefined || isWhole(address, length)) return [];
      const cidr = createCidr(parsed, length);
      return cidr === undefined ? [] : [{ network, cidr }];
    });
    return new StoredResource('services', serviceKey(service), encodeServiceAddress(service), {
      aliases: single.map(({ network, address }) => `${network}/${address}`),
      ranges,
    });
  }

  static policy(policy: Authorization): StoredResource {
    return new StoredResource('policies', policyKey(policy), encodeAuthorization(policy));
  }

  /** The field `resources` of a response, tag and length included: responses are put together of these. */
  entry(typeUrl: string): Uint8Array {
    if (typeUrl !== workloadType || this.#workload === undefined) return this.#entry;
    this.#workloadEntry ??= this.#encodeEntry(
      workloadType,
      messageBytes(WorkloadMessage, workloadToMessage(this.#workload)),
    );
    return this.#workloadEntry;
  }

  #encodeEntry(typeUrl: string, value: Uint8Array): Uint8Array {
    const { name, version, aliases } = this;
    const resources = [{ name, version, aliases: [...aliases], resource: { typeUrl, value } }];
    const empty = { systemVersionInfo: '', typeUrl: '', nonce: '', removedResources: [], resourceErrors: [] };
    return messageBytes(DeltaDiscoveryResponse, { ...empty, resources });
  }
}
