/** How a pod of the lab looks names up: a hosts file that knows only itself, and the node's nameserver. */

export const hostsFile = '127.0.0.1 localhost\n::1 localhost ip6-localhost\n';

/** `nameserver` is the address of the pod's node, where the lab's own answers; none for a host beyond the cluster. */
export function resolvConf(namespace: string, clusterDomain: string, nameserver: string): string {
  return [
    `nameserver ${nameserver}`,
    `search ${namespace}.svc.${clusterDomain} svc.${clusterDomain} ${clusterDomain}`,
    'options ndots:5 timeout:2 attempts:2',
    '',
  ].join('\n');
}
