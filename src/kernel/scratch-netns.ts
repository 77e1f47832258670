import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { HadalError } from '../base/errors.ts';
import type { NativeBpf, NativeNet } from '../native/types.ts';
import { MARK, MARK_MASK, ROUTE_TABLE, RULE_PRIORITY } from './constants.gen.ts';
import { podSysctls } from './pod-sysctls.ts';

const routing = { mark: MARK, mask: MARK_MASK, table: ROUTE_TABLE, priority: RULE_PRIORITY };

/** An empty network namespace in which to try what enrolment does to a pod's. It goes with the process that holds it. */
export class ScratchNetns {
  readonly #native: NativeBpf & NativeNet;
  readonly #holder: ChildProcess;
  #failure: Error | undefined;
  #fd: number | undefined;

  static open(native: NativeBpf & NativeNet): ScratchNetns {
    return new ScratchNetns(native, spawn('unshare', ['--net', 'sleep', '60'], { stdio: 'ignore' }));
  }

  private constructor(native: NativeBpf & NativeNet, holder: ChildProcess) {
    this.#native = native;
    this.#holder = holder;
    holder.once('error', (error) => {
      this.#failure = error;
    });
  }

  async fd(): Promise<number> {
    this.#fd ??= this.#native.openNetns(await this.#path());
    return this.#fd;
  }

  async attachLookup(objectPath: string): Promise<string> {
    const object = this.#native.openObject(objectPath);
    try {
      object.load();
      object
        .program('hadal_sk_lookup')
        .attachNetns(await this.fd())
        .close();
      return 'attached to a namespace made for the purpose';
    } finally {
      object.close();
    }
  }

  async setSysctls(): Promise<string> {
    const fd = await this.fd();
    for (const { name, value } of podSysctls) this.#native.writeSysctl(fd, name, value);
    return podSysctls.map(({ name, value }) => `${name}=${value}`).join(' ');
  }

  async addRouting(): Promise<string> {
    const fd = await this.fd();
    this.#native.addCaptureRouting(fd, routing);
    this.#native.removeCaptureRouting(fd, routing);
    return `mark ${MARK}, table ${ROUTE_TABLE}`;
  }

  async close(): Promise<void> {
    if (this.#fd !== undefined) this.#native.closeFd(this.#fd);
    if (this.#holder.pid === undefined || this.#holder.exitCode !== null) return;
    const ended = once(this.#holder, 'exit');
    this.#holder.kill('SIGKILL');
    await ended;
  }

  /** unshare(1) makes the namespace after the fork: until then the child is still in ours. */
  async #path(): Promise<string> {
    const path = `/proc/${this.#holder.pid}/ns/net`;
    const own = readlinkSync('/proc/self/ns/net');
    for (let attempt = 0; attempt < 200; attempt++) {
      if (this.#failure !== undefined || this.#holder.exitCode !== null) break;
      if (readlinkSync(path) !== own) return path;
      await sleep(5);
    }
    throw new HadalError('ERR_KERNEL_REQUIREMENT', 'unshare --net made no network namespace', {
      cause: this.#failure,
    });
  }
}
