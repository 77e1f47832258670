/**
 * The pod's own view of the file system: a root of its own made of read-only binds of the machine's programs, an /etc
 * with nothing secret, a /tmp, and the directory `/pod` in which the lab keeps resolv.conf, hosts and the service
 * account token. One sleeping process per pod (as the `pause` container does) holds the mount namespace.
 */
import { createWriteStream, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { quoted } from './command.ts';

/** A directory or file of the machine that a pod sees, read-only. */
export interface PodMount {
  readonly source: string;
  /** Absolute path in the pod; made when missing. */
  readonly target: string;
}

/** What programs in pods find in PATH first: the Node that runs the lab. */
export const podNodeDirectory = '/opt/hadal/bin';
export const podPath = `${podNodeDirectory}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;
const tokenDirectory = '/var/run/secrets/kubernetes.io/serviceaccount';

export interface PodRoot {
  /** The pod's directory in the lab's tmpfs. */
  readonly directory: string;
  readonly hostname: string;
  readonly uid: number;
  readonly mounts: readonly PodMount[];
}

/** Names of /etc that programs need; the rest of the machine's /etc is none of a pod's business. */
const etcFiles = [
  'group',
  'nsswitch.conf',
  'services',
  'protocols',
  'gai.conf',
  'ld.so.cache',
  'ld.so.conf',
  'localtime',
  'mime.types',
];
const etcDirectories = ['ssl', 'alternatives', 'ld.so.conf.d', 'ca-certificates'];
const devices = ['null', 'zero', 'full', 'random', 'urandom', 'tty'];

/**
 * Script that runs as root inside the new mount namespace, and ends by becoming the sleeping process. It prints one
 * line when the root stands.
 */
export function podRootScript(pod: PodRoot): string {
  const root = join(pod.directory, 'root');
  const at = (path: string) => quoted(join(root, path));
  const bind = (source: string, target: string) => `mount -o bind,ro ${quoted(source)} ${at(target)}`;
  const usr = ['bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32'].filter((name) => existsSync(`/${name}`));
  return [
    `mkdir -p ${quoted(root)}`,
    `mount -t tmpfs -o mode=755,size=64m hadal-pod ${quoted(root)}`,
    `cd ${quoted(root)}`,
    `mkdir -p usr etc proc sys dev/shm tmp run var/tmp var${tokenDirectory.slice(4)} pod ${podNodeDirectory.slice(1)} old home/app`,
    'chmod 1777 tmp var/tmp dev/shm',
    `chown ${pod.uid}:${pod.uid} home/app`,
    bind('/usr', 'usr'),
    // Debian merged these into /usr years ago; elsewhere they are directories.
    ...usr.map(
      (name) =>
        `if [ -L /${name} ]; then ln -s usr/${name} ${name}; else mkdir ${name}; ${bind(`/${name}`, name)}; fi`,
    ),
    ...etcFiles.map((name) => `if [ -e /etc/${name} ]; then cp -L /etc/${name} etc/${name}; fi`),
    ...etcDirectories.map(
      (name) => `if [ -d /etc/${name} ]; then mkdir etc/${name}; ${bind(`/etc/${name}`, `etc/${name}`)}; fi`,
    ),
    `printf '%s\\n' 'root:x:0:0::/:/bin/sh' 'app:x:${pod.uid}:${pod.uid}::/home/app:/bin/sh' > etc/passwd`,
    `echo ${quoted(pod.hostname)} > etc/hostname`,
    // Without it glibc takes one line of the hosts file for a name, so every dual-stack name would be IPv4 alone.
    "echo 'multi on' > etc/host.conf",
    'ln -s /pod/resolv.conf etc/resolv.conf',
    'ln -s /pod/hosts etc/hosts',
    bind(join(pod.directory, 'files'), 'pod'),
    `ln -s /pod/token var${tokenDirectory.slice(4)}/token`,
    `ln -s /pod/namespace var${tokenDirectory.slice(4)}/namespace`,
    'mount -o bind /proc proc',
    ...devices.map((name) => `: > dev/${name}; mount -o bind /dev/${name} dev/${name}`),
    'ln -s /proc/self/fd dev/fd; ln -s /proc/self/fd/0 dev/stdin; ln -s /proc/self/fd/1 dev/stdout; ln -s /proc/self/fd/2 dev/stderr',
    `: > ${podNodeDirectory.slice(1)}/node`,
    bind(process.execPath, `${podNodeDirectory}/node`),
    ...pod.mounts.map((mount) => mountScript(mount, at)),
    'pivot_root . old',
    'cd /',
    'umount -l /old',
    'rmdir /old',
    'echo ready',
    `exec setpriv ${unprivileged(pod.uid).join(' ')} sleep infinity`,
  ].join('\n');
}

/** Arguments of setpriv for a process that must not have any privilege, nor get one back. */
export function unprivileged(uid: number): string[] {
  return [
    `--reuid=${uid}`,
    `--regid=${uid}`,
    '--clear-groups',
    '--no-new-privs',
    '--bounding-set=-all',
    '--inh-caps=-all',
    '--ambient-caps=-all',
  ];
}

export interface PodFiles {
  readonly resolvConf: string;
  readonly hosts: string;
  readonly token: string;
  readonly namespace: string;
}

/** Writes the files that a pod sees under /pod; each is replaced as a whole, so a reader never sees half of one. */
export function writePodFiles(directory: string, files: PodFiles): void {
  const target = join(directory, 'files');
  mkdirSync(target, { recursive: true });
  replace(join(target, 'resolv.conf'), files.resolvConf);
  replace(join(target, 'hosts'), files.hosts);
  replace(join(target, 'token'), files.token);
  replace(join(target, 'namespace'), files.namespace);
}

/** Opens a log that survives restarts of the program that writes it. */
export function openLog(path: string) {
  mkdirSync(dirname(path), { recursive: true });
  return createWriteStream(path, { flags: 'a' });
}

function replace(path: string, content: string): void {
  if (existsSync(path) && readFileSync(path, 'utf8') === content) return;
  writeFileSync(`${path}.new`, content, { mode: 0o644 });
  renameSync(`${path}.new`, path);
}

function mountScript(mount: PodMount, at: (path: string) => string): string {
  const target = at(mount.target);
  const make = `if [ -d ${quoted(mount.source)} ]; then mkdir -p ${target}; else mkdir -p "$(dirname ${target})"; : > ${target}; fi`;
  return `${make}; mount -o bind,ro ${quoted(mount.source)} ${target}`;
}
