import type { AuthorityStatus, RootStatus } from '../identity/live-authority.ts';
import { formatDuration } from './quantities.ts';
import { type Column, renderTable } from './table.ts';

/** The authority of a control plane: what it signs with, and the roots that it gives out. */
export function describeAuthority(authority: AuthorityStatus, now: number): string {
  const { directory, signer, signerExpires, roots, error } = authority;
  const lines = [
    `authority in ${directory}`,
    `  signs as   ${signer}, until ${signerExpires} (${left(signerExpires, now)})`,
    ...(error === undefined ? [] : [`  problem    the files as they are now are not in use: ${error}`]),
  ];
  return `${lines.join('\n')}\n${renderTable(columns(now), roots).replace(/^(?=.)/gm, '  ')}`;
}

function columns(now: number): Column<RootStatus>[] {
  return [
    { title: 'ROOT', cell: ({ subject }) => subject },
    { title: 'EXPIRES', cell: ({ expires }) => left(expires, now) },
    { title: 'SIGNS', cell: ({ signs }) => (signs ? 'yes' : 'no') },
    { title: 'FINGERPRINT', cell: ({ fingerprint }) => fingerprint },
  ];
}

function left(time: string, now: number): string {
  const ms = Date.parse(time) - now;
  return ms > 0 ? `in ${formatDuration(ms)}` : 'expired';
}
