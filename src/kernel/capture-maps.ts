/** The maps that all programs of one agent share, typed. */
import { HadalError } from '../base/errors.ts';
import type { BpfMap, BpfObject, BtfType } from '../native/types.ts';
import { type Authorization, authorizedTuples, type Tuple, tupleCodec } from './authorized-tuples.ts';
import { type StructCodec, structCodec } from './codec.ts';
import { type ExcludedPortKey, type ExcludedRangeKey, ExclusionMaps } from './exclusions.ts';
import { RowTable } from './row-table.ts';
import { TypedMap } from './typed-map.ts';

export interface PodAddressKey {
  readonly podIndex: number;
  readonly address: string;
}

export interface VirtualInterfaceKey {
  readonly podIndex: number;
  readonly interfaceIndex: number;
}

export interface PodEntry {
  readonly podIndex: number;
  readonly flags: number;
  readonly flowLimit: number;
  readonly workerCount: number;
}

export interface ListenerKey {
  readonly podIndex: number;
  readonly kind: number;
  readonly worker: number;
}

export interface RangeKey {
  readonly prefixLength: number;
  readonly address: string;
}

export interface RangeEntry {
  readonly kind: number;
}

export interface KubeletEntry {
  readonly hostNetnsCookie: bigint;
  readonly cgroupId: bigint;
  readonly cgroupLevel: number;
  readonly flags: number;
}

export interface CounterKey {
  readonly podIndex: number;
  readonly reason: number;
}

export interface UntouchedKey extends CounterKey {
  readonly edge: number;
  readonly direction: number;
}

export interface UntouchedCounters {
  readonly opened: bigint;
  readonly closed: bigint;
  readonly failed: bigint;
  readonly bytesSent: bigint;
  readonly bytesReceived: bigint;
}

export class CaptureMaps {
  readonly #maps: ReadonlyMap<string, BpfMap>;
  readonly #object: BpfObject;
  readonly podAddresses: TypedMap<PodAddressKey, { value: number }>;
  readonly virtualInterfaces: TypedMap<VirtualInterfaceKey, { value: number }>;
  readonly exclusions: ExclusionMaps;
  readonly rows: RowTable;
  readonly ranges: TypedMap<RangeKey, RangeEntry>;
  readonly authorized: TypedMap<Tuple, Authorization>;
  readonly pod: StructCodec<PodEntry>;
  readonly listener: StructCodec<ListenerKey>;
  readonly kubelet: StructCodec<KubeletEntry>;
  readonly tuple: StructCodec<Tuple>;
  readonly counterKey: StructCodec<CounterKey>;
  readonly untouchedKey: StructCodec<UntouchedKey>;
  readonly untouchedCounters: StructCodec<UntouchedCounters>;

  /** `object` tells the types that no map tells. */
  constructor(maps: ReadonlyMap<string, BpfMap>, object: BpfObject) {
    this.#maps = maps;
    this.#object = object;
    const addresses = this.map('pod_addresses');
    this.podAddresses = new TypedMap(
      addresses,
      structCodec<PodAddressKey>(keyType(addresses), ['podIndex', 'address']),
      plainNumber,
    );
    const interfaces = this.map('virtual_interfaces');
    this.virtualInterfaces = new TypedMap(
      interfaces,
      structCodec<VirtualInterfaceKey>(keyType(interfaces), ['podIndex', 'interfaceIndex']),
      plainNumber,
    );
    const [excludedPorts, excludedRanges] = [this.map('excluded_ports'), this.map('excluded_ranges')];
    this.exclusions = new ExclusionMaps(
      new TypedMap(
        excludedPorts,
        structCodec<ExcludedPortKey>(keyType(excludedPorts), ['podIndex', 'port', 'list']),
        plainNumber,
      ),
      new TypedMap(
        excludedRanges,
        structCodec<ExcludedRangeKey>(keyType(excludedRanges), [
          'prefixLength',
          'podIndex',
          'list',
          'family',
          'address',
        ]),
        plainNumber,
      ),
    );
    this.rows = new RowTable(this.map('outbound_rows'), this.map('direct_targets'), {
      rowKey: this.keyType('outbound_rows'),
      row: this.valueType('outbound_rows'),
      targetKey: this.keyType('direct_targets'),
      target: this.valueType('direct_targets'),
    });
    const ranges = this.map('ranges');
    this.ranges = new TypedMap(
      ranges,
      structCodec<RangeKey>(keyType(ranges), ['prefixLength', 'address']),
      structCodec<RangeEntry>(valueType(ranges), ['kind']),
    );
    this.pod = structCodec<PodEntry>(valueType(this.map('pods')), [
      'podIndex',
      'flags',
      'flowLimit',
      'workerCount',
    ]);
    this.listener = structCodec<ListenerKey>(object.type('hadal_listener_key'), [
      'podIndex',
      'kind',
      'worker',
    ]);
    this.kubelet = structCodec<KubeletEntry>(valueType(this.map('kubelet')), [
      'hostNetnsCookie',
      'cgroupId',
      'cgroupLevel',
      'flags',
    ]);
    const tuples = this.map('kubelet_tuples');
    this.tuple = tupleCodec(keyType(tuples));
    const authorized = this.map('authorized');
    this.authorized = authorizedTuples(authorized, keyType(authorized), valueType(authorized));
    this.counterKey = structCodec<CounterKey>(keyType(this.map('pod_counts')), ['podIndex', 'reason']);
    const untouched = this.map('untouched_counts');
    this.untouchedKey = structCodec<UntouchedKey>(keyType(untouched), [
      'podIndex',
      'edge',
      'reason',
      'direction',
    ]);
    this.untouchedCounters = structCodec<UntouchedCounters>(valueType(untouched), [
      'opened',
      'closed',
      'failed',
      'bytesSent',
      'bytesReceived',
    ]);
  }

  keyType(name: string): BtfType {
    return keyType(this.map(name));
  }

  valueType(name: string): BtfType {
    return valueType(this.map(name));
  }

  /** A type that no map tells. */
  type(name: string): BtfType {
    return this.#object.type(name);
  }

  map(name: string): BpfMap {
    const found = this.#maps.get(name);
    if (found === undefined) {
      throw new HadalError('ERR_KERNEL_LAYOUT', `the BPF objects have no map ${name}; run npm run build`);
    }
    return found;
  }
}

/** A value that is one number, in the shape of a struct. */
const plainNumber: StructCodec<{ value: number }> = {
  size: 4,
  encode: ({ value }) => new Uint8Array(Uint32Array.of(value).buffer),
  encodeInto: ({ value }, bytes, at) =>
    new DataView(bytes.buffer, bytes.byteOffset).setUint32(at, value, true),
  decode: (bytes, at = 0) => ({ value: new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true) }),
};

function keyType(map: BpfMap): BtfType {
  return typeOf(map, map.keyType, 'key');
}

function valueType(map: BpfMap): BtfType {
  return typeOf(map, map.valueType, 'value');
}

function typeOf(map: BpfMap, type: BtfType | undefined, what: string): BtfType {
  if (type !== undefined) return type;
  throw new HadalError(
    'ERR_KERNEL_LAYOUT',
    `map ${map.name} tells no type of its ${what}; was its object stripped of BTF?`,
  );
}
