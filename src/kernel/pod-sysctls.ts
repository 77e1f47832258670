/** What the capture needs to be set in each pod's network namespace, below /proc/sys/net. */
export const podSysctls: readonly { readonly name: string; readonly value: string }[] = [
  // Accepted sockets inherit the mark of the SYN, and with it the way back to the agent.
  { name: 'ipv4/tcp_fwmark_accept', value: '1' },
  // So do the RSTs that no socket sends: without it they leave the pod in clear, towards whom the agent speaks for.
  { name: 'ipv4/fwmark_reflect', value: '1' },
  { name: 'ipv6/fwmark_reflect', value: '1' },
];
