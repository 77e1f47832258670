import { policyKey } from '../model/authorization.ts';
import { reasons } from '../model/reasons.gen.ts';
import { formatSpiffeId } from '../model/spiffe-id.ts';
import type { PolicyVerdict, ToldPolicy } from './evaluate.ts';
import type { ConnectionFacts } from './match.ts';

/** A verdict in sentences for an operator: who asked, what is only told, and what decided. */
export function explain(verdict: PolicyVerdict, facts: ConnectionFacts): readonly string[] {
  return Object.freeze([
    describeConnection(facts),
    ...verdict.told.map(describeTold),
    ...describeWithDryRuns(verdict),
    describeVerdict(verdict),
  ]);
}

function describeConnection(facts: ConnectionFacts): string {
  const who = facts.identity === undefined ? 'a peer without identity' : formatSpiffeId(facts.identity);
  const from = facts.sourceAddress.text;
  return `policies are asked for ${who} from ${from} to ${facts.destinationAddress.text} port ${facts.destinationPort}`;
}

function describeTold({ name, action, rule, notUnderstood }: ToldPolicy): string {
  const [kind, what] = action === 'AUDIT' ? ['audit', 'policy'] : ['dry run', `${action} policy`];
  if (notUnderstood !== undefined) {
    return `${kind}: policy ${name} is not understood here (${notUnderstood}); not enforced`;
  }
  const matches = action === 'AUDIT' ? 'matches' : 'would match';
  const matchesNot = action === 'AUDIT' ? 'does not match' : 'would not match';
  return `${kind}: ${what} ${name} ${rule === undefined ? matchesNot : `${matches} by ${ruleName(rule)}`}; not enforced`;
}

/** Only where it would be another: that is what a dry run is for. */
function describeWithDryRuns({ reason, withDryRuns }: PolicyVerdict): string[] {
  if (withDryRuns === undefined || withDryRuns.reason === reason) return [];
  const { policy } = withDryRuns;
  const by = policy === undefined ? 'as no ALLOW policy matches' : `by policy ${policy.name}`;
  const outcome = withDryRuns.reason === reasons.NONE ? 'allowed' : 'refused';
  return [`dry run: were all of them enforced, the connection would be ${outcome} ${by}`];
}

function describeVerdict({ reason, policy, candidates }: PolicyVerdict): string {
  const { denying, allowing, unknown } = candidates;
  const [first] = unknown;
  if (reason === reasons.UNKNOWN_POLICY && first !== undefined) return first.why;
  if (policy !== undefined) {
    const [action, outcome] = reason === reasons.NONE ? ['ALLOW', 'allowed'] : ['DENY', 'refused'];
    return `${action} policy ${policy.name} matches by ${ruleName(policy.rule ?? 0)}: ${outcome}`;
  }
  if (reason === reasons.NONE) {
    return denying.length === 0
      ? 'no DENY policy and no ALLOW policy applies: allowed'
      : `none of the DENY policies ${namesOf(denying)} matches and no ALLOW policy applies: allowed`;
  }
  return `none of the ALLOW policies ${namesOf(allowing)} matches: refused`;
}

const shownNames = 8;

/** A mesh may have hundreds of them. */
function namesOf(policies: PolicyVerdict['candidates']['denying']): string {
  const names = policies.slice(0, shownNames).map(policyKey).join(', ');
  return policies.length > shownNames ? `${names} and ${policies.length - shownNames} more` : names;
}

/** As people count. */
function ruleName(rule: number): string {
  return `rule ${rule + 1}`;
}
