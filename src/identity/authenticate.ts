/** Who may talk to a control plane: agents with a join token, and pods with a token of their service account. */
import { type Authenticate, addressOf, bearerToken, type Caller, unauthenticated } from './caller.ts';
import type { JoinKeys } from './join-keys.ts';
import { isJoinToken, verifyJoinToken } from './join-token.ts';
import type { ServiceAccountCallers } from './service-account-caller.ts';

export interface AuthenticationSettings {
  /** Absent: join tokens are refused. */
  readonly joinKeys?: Pick<JoinKeys, 'find'> | undefined;
  /** Absent: service account tokens are refused. */
  readonly serviceAccounts?: Pick<ServiceAccountCallers, 'authenticate'> | undefined;
  readonly now?: () => number;
}

export function createAuthenticate(settings: AuthenticationSettings): Authenticate {
  const { joinKeys, serviceAccounts, now = Date.now } = settings;
  return async (metadata, signal, peer) => {
    const token = bearerToken(metadata);
    if (isJoinToken(token)) {
      if (joinKeys === undefined) throw unauthenticated('join tokens are not accepted here');
      return joinCaller(token, joinKeys, now());
    }
    if (serviceAccounts === undefined)
      throw unauthenticated('the token is no join token, and others are not accepted here');
    return serviceAccounts.authenticate(token, signal, addressOf(peer));
  };
}

async function joinCaller(token: string, keys: Pick<JoinKeys, 'find'>, now: number): Promise<Caller> {
  const { id, node, expiresAt } = await verifyJoinToken(token, (kid) => keys.find(kid), now);
  return Object.freeze({
    node,
    isAgent: true,
    name: `join token ${id} of node ${node}`,
    account: undefined,
    expiresAt,
  });
}
