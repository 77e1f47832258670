/** A control plane of another make, as an agent sees it: ours, with somebody in between who adds and holds back. */
import { type ChildProcess, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Lab } from '../../src/lab/lab.ts';
import { commandLine } from '../../src/lab/package-root.ts';
import type { LabOptions } from '../../src/lab/start.ts';

const program = fileURLToPath(new URL('programs/interposer.ts', import.meta.url));
const overrides = fileURLToPath(new URL('programs/override-environment.ts', import.meta.url));

export interface Orders {
  readonly inject?: { readonly name: string; readonly hex: string };
  readonly hold?: boolean;
}

/** Made before the lab, whose agents have to look for it; in between on a node from `start` and the agent's next start on. */
export class Interposer {
  readonly #directory = mkdtempSync(join(tmpdir(), 'hadal-interposer-'));
  readonly #running = new Map<string, ChildProcess>();

  constructor() {
    const request = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
    const name = ['-subj', '/CN=interposer', '-addext', 'subjectAltName=DNS:interposer'];
    const files = ['-keyout', this.#path('key.pem'), '-out', this.#path('cert.pem')];
    execFileSync('openssl', ['req', ...request, ...name, ...files], { stdio: 'pipe' });
  }

  /** For the lab. */
  get options(): Pick<LabOptions, 'controlPlane' | 'agentEnv' | 'agentProgram'> {
    const [node = '', ...entry] = commandLine();
    return {
      controlPlane: true,
      agentEnv: { TEST_OVERRIDES: this.#path('overrides.json') },
      agentProgram: [node, '--import', overrides, ...entry],
    };
  }

  async start(lab: Lab, node: string, orders: Orders = {}): Promise<void> {
    const { controlPlane } = lab;
    if (controlPlane === undefined) throw new Error('there is nobody to stand in front of');
    const { address, rootFile, serverName } = controlPlane;
    const pair = [this.#path('cert.pem'), this.#path('key.pem')];
    const child = lab
      .node(node)
      .spawn([process.execPath, program, address, rootFile, serverName, ...pair, JSON.stringify(orders)]);
    this.#running.set(node, child);
    child.stderr?.pipe(process.stderr);
    if (child.stdout === null) throw new Error('the interposer cannot be heard');
    const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
    if (line !== 'ready') throw new Error(`the interposer says ${line}`);
    const environment = {
      HADAL_XDS_ADDRESS: '127.0.0.1:15013',
      HADAL_XDS_ROOT_FILE: this.#path('cert.pem'),
      HADAL_XDS_SERVER_NAME: 'interposer',
    };
    writeFileSync(this.#path('overrides.json'), JSON.stringify(environment));
  }

  tell(node: string, orders: Orders): void {
    this.#running.get(node)?.stdin?.write(`${JSON.stringify(orders)}\n`);
  }

  async stop(node: string): Promise<void> {
    const child = this.#running.get(node);
    if (child === undefined || !this.#running.delete(node)) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  async close(): Promise<void> {
    for (const node of [...this.#running.keys()]) await this.stop(node);
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }
}
