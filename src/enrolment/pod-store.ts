import { mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { HadalError } from '../base/errors.ts';
import { type AddRequest, isInterfaceName } from './request.ts';
import { isStoredExclusions } from './request-exclusions.ts';

/** A pod as it is kept on disk: what a restarted agent needs to carry it again. */
export interface StoredPod extends AddRequest {
  /** 1 to 65535; in BPF maps, native tables and flow records. */
  readonly podIndex: number;
  /** Inode of its network namespace: another one under the same path is another namespace. */
  readonly netnsInode: string;
  readonly enrolledAt: string;
  /** Set once it left the mesh while its open connections go on: no agent shall capture it again. */
  readonly leftAt?: string;
}

export const mostPodIndexes = 65_535;

const version = 1;

interface StoreFile {
  readonly version: number;
  /** The index last given away: a free number is reused as late as possible, since flow records still name it. */
  readonly lastIndex: number;
  readonly pods: readonly StoredPod[];
  /** Indexes of pods that the kernel captures and that no entry names, since an earlier file was lost. */
  readonly held?: readonly number[];
}

/** The enrolled pods on disk. Each change is written to a new file that then takes the old one's place. */
export class PodStore {
  readonly #path: string;
  readonly #pods = new Map<string, StoredPod>();
  readonly #indexes = new Set<number>();
  readonly #held = new Set<number>();
  #isLost = false;
  #lastIndex = 0;
  #writing: Promise<void> = Promise.resolve();
  #isDirty = false;

  private constructor(path: string) {
    this.#path = path;
  }

  /** A file that cannot be read is put aside, never overwritten: `problem` says where to. */
  static open(path: string): { readonly store: PodStore; readonly problem: HadalError | undefined } {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const store = new PodStore(path);
    try {
      store.#read();
      return { store, problem: undefined };
    } catch (caught) {
      store.#pods.clear();
      store.#indexes.clear();
      store.#held.clear();
      store.#isLost = true;
      const aside = `${path}.broken`;
      renameSync(path, aside);
      const error = HadalError.from(caught, 'ERR_ENROLMENT_STORE', `reading ${path}, now ${aside}`);
      return { store, problem: error };
    }
  }

  /** There was no file, or none that could be read: pods may be captured that nobody here knows. */
  get isLost(): boolean {
    return this.#isLost;
  }

  get held(): readonly number[] {
    return [...this.#held];
  }

  pods(): StoredPod[] {
    return [...this.#pods.values()];
  }

  get(uid: string): StoredPod | undefined {
    return this.#pods.get(uid);
  }

  find(namespace: string, name: string): StoredPod | undefined {
    return this.pods().find((pod) => pod.namespace === namespace && pod.name === name);
  }

  /** A number that no enrolled pod has. */
  reserveIndex(): number {
    for (let step = 1; step <= mostPodIndexes; step++) {
      const candidate = ((this.#lastIndex + step - 1) % mostPodIndexes) + 1;
      if (this.#indexes.has(candidate)) continue;
      this.#indexes.add(candidate);
      this.#lastIndex = candidate;
      return candidate;
    }
    throw new HadalError('ERR_ENROLMENT_FULL', `all ${mostPodIndexes} pod indexes of this agent are taken`);
  }

  /** Gives back a reserved number that `put` never saw, or one whose pod has drained. */
  releaseIndex(podIndex: number): void {
    this.#indexes.delete(podIndex);
  }

  put(pod: StoredPod): Promise<void> {
    this.#pods.set(pod.uid, pod);
    this.#indexes.add(pod.podIndex);
    return this.#write();
  }

  /** Nobody else gets these indexes, also after a restart, until `unhold`. */
  async hold(podIndexes: readonly number[]): Promise<void> {
    for (const podIndex of podIndexes) {
      this.#held.add(podIndex);
      this.#indexes.add(podIndex);
    }
    await this.#write();
  }

  async unhold(podIndexes: readonly number[]): Promise<void> {
    const known = podIndexes.filter((podIndex) => this.#held.delete(podIndex));
    for (const podIndex of known) this.#indexes.delete(podIndex);
    if (known.length > 0) await this.#write();
  }

  /** The index stays taken until `releaseIndex`. */
  remove(uid: string): Promise<void> {
    return this.#pods.delete(uid) ? this.#write() : this.#writing;
  }

  #read(): void {
    let text: string;
    try {
      text = readFileSync(this.#path, 'utf8');
    } catch (caught) {
      if ((caught as NodeJS.ErrnoException).code === 'ENOENT') {
        this.#isLost = true;
        return;
      }
      throw caught;
    }
    const file = JSON.parse(text) as StoreFile;
    if (file?.version !== version || !Array.isArray(file.pods)) {
      throw new HadalError(
        'ERR_ENROLMENT_STORE',
        `version ${String(file?.version)} is not ${version}, which this agent writes`,
      );
    }
    if (file.held !== undefined && !isIndexList(file.held)) {
      throw new HadalError('ERR_ENROLMENT_STORE', `held is no list of indexes: ${JSON.stringify(file.held)}`);
    }
    for (const pod of file.pods) {
      if (!isStoredPod(pod))
        throw new HadalError('ERR_ENROLMENT_STORE', `an entry is not a pod: ${JSON.stringify(pod)}`);
      if (this.#indexes.has(pod.podIndex)) {
        throw new HadalError('ERR_ENROLMENT_STORE', `two pods have the index ${pod.podIndex}`);
      }
      this.#pods.set(pod.uid, pod);
      this.#indexes.add(pod.podIndex);
    }
    for (const podIndex of file.held ?? []) {
      this.#held.add(podIndex);
      this.#indexes.add(podIndex);
    }
    this.#lastIndex = Number.isInteger(file.lastIndex) ? file.lastIndex : 0;
  }

  /** One write at a time; changes made meanwhile go out together with the next. Resolves when this change is on disk. */
  #write(): Promise<void> {
    if (!this.#isDirty) {
      this.#isDirty = true;
      this.#writing = this.#writing.catch(() => {}).then(() => this.#writeNow());
    }
    return this.#writing;
  }

  async #writeNow(): Promise<void> {
    this.#isDirty = false;
    const held = this.#held.size === 0 ? {} : { held: this.held };
    const file: StoreFile = { version, lastIndex: this.#lastIndex, pods: this.pods(), ...held };
    const temporary = `${this.#path}.new`;
    try {
      const handle = await open(temporary, 'w', 0o600);
      try {
        await handle.writeFile(`${JSON.stringify(file, undefined, 1)}\n`);
        await handle.sync();
      } finally {
        await handle.close();
      }
      renameSync(temporary, this.#path);
    } catch (caught) {
      rmSync(temporary, { force: true });
      throw HadalError.from(caught, 'ERR_ENROLMENT_STORE', `writing ${this.#path}`);
    }
  }
}

function isStoredPod(value: unknown): value is StoredPod {
  if (typeof value !== 'object' || value === null) return false;
  const pod = value as Record<string, unknown>;
  const texts = ['uid', 'name', 'namespace', 'serviceAccount', 'netns', 'cgroup', 'netnsInode', 'enrolledAt'];
  return (
    texts.every((name) => typeof pod[name] === 'string') &&
    isIndex(pod.podIndex) &&
    Array.isArray(pod.addresses) &&
    pod.addresses.every((address) => typeof address === 'string') &&
    (pod.leftAt === undefined || typeof pod.leftAt === 'string') &&
    (pod.dnsCapture === undefined || typeof pod.dnsCapture === 'boolean') &&
    (pod.bypassInbound === undefined || typeof pod.bypassInbound === 'boolean') &&
    (pod.turbo === undefined || typeof pod.turbo === 'boolean') &&
    (pod.virtualInterfaces === undefined ||
      (Array.isArray(pod.virtualInterfaces) && pod.virtualInterfaces.every(isInterfaceName))) &&
    (pod.exclusions === undefined || isStoredExclusions(pod.exclusions))
  );
}

function isIndex(value: unknown): boolean {
  return Number.isInteger(value) && Number(value) >= 1 && Number(value) <= mostPodIndexes;
}

function isIndexList(value: unknown): boolean {
  return Array.isArray(value) && value.every(isIndex);
}
