import { HadalError } from '../base/errors.ts';
import type { BpfMap } from '../native/types.ts';
import type { StructCodec } from './codec.ts';

/** A hash map of the kernel with its keys and values as plain objects. */
export class TypedMap<K, V> {
  readonly map: BpfMap;
  readonly #key: StructCodec<K>;
  readonly #value: StructCodec<V>;

  constructor(map: BpfMap, key: StructCodec<K>, value: StructCodec<V>) {
    if (map.keySize !== key.size || map.valueSize !== value.size) {
      throw new HadalError(
        'ERR_KERNEL_LAYOUT',
        `map ${map.name} has keys of ${map.keySize} and values of ${map.valueSize} bytes, its types have ${key.size} and ` +
          `${value.size}: it was pinned by another version; run hadal agent of that version, or remove the pin`,
      );
    }
    this.map = map;
    this.#key = key;
    this.#value = value;
  }

  get(key: K): V | undefined {
    const bytes = this.map.get(this.#key.encode(key));
    return bytes === undefined ? undefined : this.#value.decode(bytes);
  }

  set(key: K, value: V): void {
    this.map.set(this.#key.encode(key), this.#value.encode(value));
  }

  /** False when nothing stands there to be changed. */
  update(key: K, value: V): boolean {
    const bytes = this.#key.encode(key);
    try {
      this.map.set(bytes, this.#value.encode(value), 'replace');
      return true;
    } catch (error) {
      if (this.map.get(bytes) === undefined) return false;
      throw error;
    }
  }

  delete(key: K): boolean {
    return this.map.delete(this.#key.encode(key));
  }

  setAll(entries: readonly (readonly [K, V])[]): void {
    if (entries.length === 0) return;
    const keys = new Uint8Array(entries.length * this.#key.size);
    const values = new Uint8Array(entries.length * this.#value.size);
    entries.forEach(([key, value], index) => {
      this.#key.encodeInto(key, keys, index * this.#key.size);
      this.#value.encodeInto(value, values, index * this.#value.size);
    });
    const written = this.map.setBatch(keys, values);
    if (written < entries.length) {
      throw new HadalError(
        'ERR_KERNEL_MAP_FULL',
        `map ${this.map.name} took ${written} of ${entries.length} entries; it holds ${this.map.maxEntries} at most`,
      );
    }
  }

  deleteAll(keys: readonly K[]): void {
    if (keys.length === 0) return;
    const packed = new Uint8Array(keys.length * this.#key.size);
    keys.forEach((key, index) => {
      this.#key.encodeInto(key, packed, index * this.#key.size);
    });
    this.map.deleteBatch(packed);
  }

  keys(): K[] {
    return this.map.keys().map((key) => this.#key.decode(key));
  }

  entries(): [K, V][] {
    return this.map.entries().map(([key, value]) => [this.#key.decode(key), this.#value.decode(value)]);
  }

  /**
   * Makes the map hold exactly `wanted`, of the keys that `owned` accepts: what is new or differs is written first, what is
   * left over removed last, so no lookup misses an entry that stays.
   */
  replace(
    wanted: readonly (readonly [K, V])[],
    owned: (key: K) => boolean = () => true,
  ): { set: number; deleted: number } {
    const present = new Map(this.map.entries().map(([key, value]) => [hex(key), { key, value: hex(value) }]));
    const wantedKeys = new Set<string>();
    const changed = wanted.filter(([key, value]) => {
      const id = hex(this.#key.encode(key));
      wantedKeys.add(id);
      return present.get(id)?.value !== hex(this.#value.encode(value));
    });
    const leftOver = [...present]
      .filter(([id, { key }]) => !wantedKeys.has(id) && owned(this.#key.decode(key)))
      .map(([, { key }]) => this.#key.decode(key));
    this.setAll(changed);
    this.deleteAll(leftOver);
    return { set: changed.length, deleted: leftOver.length };
  }
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}
