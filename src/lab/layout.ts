/** Where the things of a lab are: names of namespaces, cgroups, files. One place, so that cleaning up finds all of them. */
import { join } from 'node:path';
import { HadalError } from '../base/errors.ts';

/** Records of running labs, and under it one tmpfs per lab. */
export const registryDirectory = '/run/hadal-lab';
export const netnsDirectory = '/run/netns';

export interface LabLayout {
  readonly name: string;
  /** tmpfs of the lab: state, keys and logs never reach a disk. */
  readonly directory: string;
  /** bpffs of the lab's agents. */
  readonly bpffs: string;
  readonly cgroup: string;
  readonly fabricNetns: string;
}

/** No dash: `hadal-<name>-` is then the prefix of this lab's namespaces and of no other's. */
const labName = /^[a-z][a-z0-9]{0,19}$/;

export function labLayout(name: string, cgroupRoot: string): LabLayout {
  if (!labName.test(name)) {
    throw new HadalError(
      'ERR_LAB_NAME',
      `"${name}" cannot name a lab: take up to 20 lower-case letters and digits, a letter first`,
    );
  }
  const directory = join(registryDirectory, name);
  return {
    name,
    directory,
    bpffs: join(directory, 'bpf'),
    cgroup: join(cgroupRoot, `hadal-${name}`),
    fabricNetns: netnsName(name, 'fabric'),
  };
}

export const netnsName = (lab: string, ...parts: string[]) => ['hadal', lab, ...parts].join('-');
export const netnsPath = (netns: string) => join(netnsDirectory, netns);
export const netnsPrefix = (lab: string) => `hadal-${lab}-`;

export interface NodeLayout {
  readonly netns: string;
  readonly cgroup: string;
  readonly kubeletCgroup: string;
  readonly systemCgroup: string;
  readonly directory: string;
}

export function nodeLayout(lab: LabLayout, node: string): NodeLayout {
  const cgroup = join(lab.cgroup, node);
  return {
    netns: netnsName(lab.name, node),
    cgroup,
    kubeletCgroup: join(cgroup, 'kubelet'),
    systemCgroup: join(cgroup, 'system'),
    directory: join(lab.directory, 'nodes', node),
  };
}

export interface PodLayout {
  readonly netns: string;
  readonly cgroup: string;
  readonly directory: string;
}

/** Pods of two namespaces may have one name, so the namespace is part of it: `front.shop`. */
export function podLayout(lab: LabLayout, node: string, namespace: string, pod: string): PodLayout {
  const key = `${pod}.${namespace}`;
  return {
    netns: netnsName(lab.name, node, key),
    cgroup: join(lab.cgroup, node, 'pods', key),
    directory: join(lab.directory, 'pods', key),
  };
}
