/** The certificate authority of a control plane: whom it knows, what it signs, and the root that agents are given. */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { HadalError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import type { ControlPlaneConfig } from '../config/control-plane-options.ts';
import { Admission } from '../identity/admission.ts';
import { createAuthenticate } from '../identity/authenticate.ts';
import type { Authenticate } from '../identity/caller.ts';
import { CertificateIssuer } from '../identity/certificate-issuer.ts';
import { JoinKeys, joinKeyDirectory } from '../identity/join-keys.ts';
import { LiveAuthority } from '../identity/live-authority.ts';
import { NodeAuthorizer } from '../identity/node-authorizer.ts';
import type { PodView } from '../identity/pod-view.ts';
import { ServerCertificate } from '../identity/server-certificate.ts';
import { ServiceAccountCallers } from '../identity/service-account-caller.ts';
import { canonicalAddress } from '../model/address.ts';
import type { ApiClient } from '../source/api-server/api-client.ts';
import { createLivePods } from '../source/api-server/live-pods.ts';
import { createTokenReviewer } from '../source/api-server/token-review.ts';
import { ConnectionGate } from './connection-gate.ts';
import { knownPods } from './known-pods.ts';
import type { MeshParts, PlaneScope } from './plane-parts.ts';

export interface AuthorityParts {
  readonly authority: LiveAuthority;
  readonly authenticate: Authenticate;
  readonly issuer: CertificateIssuer;
  /** Of the port for agents: its connections, its calls that are not authenticated yet, and the questions about their tokens. */
  readonly gate: ConnectionGate;
  readonly admission: Admission;
  readonly callers: ServiceAccountCallers | undefined;
  /** Of the port for agents. */
  readonly serverCertificate: ServerCertificate;
}

export async function openPlaneAuthority(scope: PlaneScope, mesh: MeshParts): Promise<AuthorityParts> {
  const { config, logs, lifecycle } = scope;
  const logger = logs.scope('authority');
  const trustDomains = [config.trustDomain, ...config.trustDomainAliases];
  const isOwn = config.authorityDirectory === '';
  const directory = isOwn ? join(config.dataDirectory, 'authority') : config.authorityDirectory;
  const options = { trustDomains, maxLifetimeMs: config.certificateLifetime, selfSigned: isOwn };
  const authority = await LiveAuthority.open(directory, options, logger);
  lifecycle.own('authority', authority);
  writeRoots(config.rootFile, authority.roots, logger);
  const forget = authority.onChange(() => writeRoots(config.rootFile, authority.roots, logger));
  lifecycle.onClose('root file', forget);

  const serverCertificate = await ServerCertificate.issue(authority, {
    names: serverNames(config.serverNames),
    logger,
  });
  lifecycle.own('server certificate', serverCertificate);
  const pods = { ...knownPods(mesh.translation.objects), ...livePods(mesh) };
  const callers = serviceAccounts(config, mesh.api, pods);
  const gate = new ConnectionGate({
    limits: { agents: config.maxConnections, perAddress: config.maxConnectionsPerAddress },
    logger: logs.scope('port'),
  });
  const admission = new Admission({
    authenticate: createAuthenticate({
      joinKeys: new JoinKeys(joinKeyDirectory(config.dataDirectory)),
      serviceAccounts: callers,
    }),
    onKnown: (peer, caller) => gate.recognise(peer, caller),
    limits: { perAddress: openPerAddress(config) },
  });
  const { authenticate } = admission;
  const authorizer = new NodeAuthorizer({ pods, trustDomains, logger });
  const issuer = new CertificateIssuer({ authority, authenticate, authorizer, trustDomains, logger });
  return { authority, authenticate, issuer, gate, admission, callers, serverCertificate };
}

/** Only a cluster can be asked whose a token is. */
function serviceAccounts(config: ControlPlaneConfig, api: ApiClient | undefined, pods: PodView) {
  if (api === undefined) return undefined;
  return new ServiceAccountCallers({
    reviewer: createTokenReviewer(api),
    pods,
    audiences: config.tokenAudiences,
    nodeAccounts: config.agentAccounts,
    questions: { perAsker: openPerAddress(config) },
  });
}

/** Where many agents share an address they ask as many things at a time. */
const openPerAddress = ({ maxConnectionsPerAddress }: ControlPlaneConfig): number =>
  Math.max(32, maxConnectionsPerAddress);

function livePods({ api, translation }: MeshParts): Pick<PodView, 'live'> {
  return api === undefined ? {} : { live: createLivePods(api, translation.objects.names.enrolment) };
}

function serverNames(names: readonly string[]) {
  const addresses = names.map(canonicalAddress).filter((address) => address !== undefined);
  return { dnsNames: names.filter((name) => canonicalAddress(name) === undefined), addresses };
}

/** By rename: whoever reads it meanwhile has the roots of before. */
function writeRoots(path: string, roots: string, logger: Logger): void {
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(`${path}.new`, roots, { mode: 0o644 });
    renameSync(`${path}.new`, path);
  } catch (caught) {
    const err = HadalError.from(caught, 'ERR_ROOT_FILE', `writing the roots to ${path}`);
    logger.error({ err }, 'agents cannot be given the root of this authority');
  }
}
