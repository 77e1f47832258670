/**
 * A bad network between the nodes: what leaves each node waits, and some of it is lost. By the kernel's netem where it
 * has one, else by `hadal-wire`, a program that carries the frames between the node's port and the switch.
 */
import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { HadalError } from '../base/errors.ts';
import { capture, runScript } from './command.ts';
import type { Fabric } from './fabric.ts';
import { fabricInterface, type NodeLink } from './network.ts';
import { packageRoot } from './package-root.ts';
import { spawnPlaced } from './process.ts';

export interface Impairment {
  /** Added in each direction. */
  readonly delayMs: number;
  readonly lossPercent: number;
}

export interface ImpairmentPlace {
  readonly fabric: Fabric;
  /** Where the carrying programs run. */
  readonly cgroup: string;
}

/** Impairs the links of all nodes; the function returned makes them good again. */
export async function impair(place: ImpairmentPlace, impairment: Impairment): Promise<() => Promise<void>> {
  const { nodes } = place.fabric;
  const [first] = nodes;
  if (first === undefined) return async () => {};
  if (await addNetem(first, impairment)) {
    for (const node of nodes.slice(1)) await addNetem(node, impairment);
    return async () => {
      for (const node of nodes)
        await capture(['tc', '-n', node.netns, 'qdisc', 'del', 'dev', fabricInterface, 'root']);
    };
  }
  const wires: InsertedWire[] = [];
  for (const node of nodes) wires.push(await insertWire(place, node, impairment));
  return async () => {
    for (const wire of wires) await removeWire(place.fabric, wire);
  };
}

async function addNetem(node: NodeLink, { delayMs, lossPercent }: Impairment): Promise<boolean> {
  const netem = ['netem', 'delay', `${delayMs}ms`, 'loss', `${lossPercent}%`, 'limit', '100000'];
  const result = await capture([
    'tc',
    '-n',
    node.netns,
    'qdisc',
    'replace',
    'dev',
    fabricInterface,
    'root',
    ...netem,
  ]);
  if (result.code === 0) return true;
  if (/kind is unknown|not found/i.test(result.stderr)) return false;
  throw new HadalError('ERR_LAB_IMPAIRMENT', `tc refused netem in ${node.netns}: ${result.stderr.trim()}`);
}

interface InsertedWire {
  readonly child: ChildProcess;
  readonly node: NodeLink;
}

/** Between the node's port and the switch: port ─ hadal-wire ─ veth pair ─ switch. */
async function insertWire(
  place: ImpairmentPlace,
  node: NodeLink,
  impairment: Impairment,
): Promise<InsertedWire> {
  const { fabric, cgroup } = place;
  if (fabric.kind !== 'bridge') {
    throw new HadalError(
      'ERR_LAB_IMPAIRMENT',
      'this kernel has no netem, and a direct fabric has no place for hadal-wire; take the bridge',
    );
  }
  const program = join(packageRoot(), 'build', 'Release', 'hadal-wire');
  if (!existsSync(program))
    throw new HadalError('ERR_LAB_IMPAIRMENT', `${program} is missing; run npm run build`);
  const [port, near, far] = wireNames(node);
  await runScript(
    `put a wire before ${node.netns}`,
    `ip -n ${fabric.netns} -batch - <<'BATCH'
link set ${port} nomaster
link add ${near} type veth peer name ${far}
link set ${near} up
link set ${far} master br0 up
BATCH`,
  );
  const argv = [
    program,
    port,
    near,
    String(Math.round(impairment.delayMs * 1_000)),
    String(Math.round(impairment.lossPercent * 10_000)),
  ];
  const child = spawnPlaced({ netns: fabric.netns, cgroup }, argv, { env: {} });
  await carrying(child);
  return { child, node };
}

async function removeWire(fabric: Fabric, { child, node }: InsertedWire): Promise<void> {
  const ended = new Promise((resolve) => child.once('close', resolve));
  child.kill('SIGKILL');
  await ended;
  const [port, near] = wireNames(node);
  await runScript(
    `take the wire before ${node.netns} away`,
    `ip -n ${fabric.netns} -batch - <<'BATCH'
link del ${near}
link set ${port} master br0
BATCH`,
  );
}

const wireNames = ({ number }: NodeLink) => [`node${number}`, `near${number}`, `far${number}`] as const;

function carrying(child: ChildProcess): Promise<void> {
  let said = '';
  return new Promise((resolve, reject) => {
    child.stderr?.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    child.stdout?.once('data', () => resolve());
    child.once('error', reject);
    child.once('close', () =>
      reject(new HadalError('ERR_LAB_IMPAIRMENT', `hadal-wire ended: ${said.trim()}`)),
    );
  });
}
