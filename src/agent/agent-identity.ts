/** Where the agent's certificates come from, and which of others were taken back. */
import { join } from 'node:path';
import type { AgentConfig } from '../config/agent-options.ts';
import { KeptCertificates } from '../identity/kept-certificates.ts';
import { followRevocationFile } from '../identity/revocation-file.ts';
import type { KnownRevocations } from '../identity/revocation-lists.ts';
import type { CertificateSigner } from '../identity/signer.ts';
import { SocketSigner } from '../identity/signing-client.ts';
import { WorkloadCertificates } from '../identity/workload-certificates.ts';
import type { Tunnel } from '../tunnel/tunnel.ts';
import type { AgentScope } from './parts.ts';

export async function startCertificates(
  { config, logs, lifecycle, revocations }: AgentScope,
  tunnel: () => Pick<Tunnel, 'setIdentity' | 'removeIdentity'>,
): Promise<WorkloadCertificates> {
  const logger = logs.scope('identity');
  const certificates = new WorkloadCertificates({
    signer: await openSigner(config, revocations, (signer) =>
      lifecycle.own('certificate authority client', signer),
    ),
    trustDomains: trustDomains(config),
    kept: await KeptCertificates.open(join(config.runtimeDirectory, 'certificates'), logger),
    lifetimeMs: config.certificateLifetimeMs,
    onIdentity: (identity) => tunnel().setIdentity(identity),
    onGone: (identity) => tunnel().removeIdentity(identity),
    logger,
  });
  lifecycle.own('certificates', certificates);
  return certificates;
}

/** Before the first connection: nobody who is revoked is let in for the sake of a quick start. */
export async function startRevocations(
  { config, logs, lifecycle, revocations }: AgentScope,
  { tunnel, certificates }: { readonly tunnel: Tunnel; readonly certificates: WorkloadCertificates },
): Promise<void> {
  if (config.crlFile === '') return;
  const following = await followRevocationFile({
    path: config.crlFile,
    logger: logs.scope('identity'),
    apply: (pem, lists) => {
      tunnel.setRevocations(pem);
      revocations.lists = lists;
      certificates.renewRevoked(lists);
    },
  });
  lifecycle.own('revocation lists', following);
}

export function trustDomains(config: AgentConfig): string[] {
  return [config.trustDomain, ...config.trustDomainAliases];
}

async function openSigner(
  config: AgentConfig,
  revocations: KnownRevocations,
  own: (signer: { close(): void }) => void,
): Promise<CertificateSigner> {
  if (config.caAddress === '') return new SocketSigner(config.authoritySocket);
  // gRPC costs an agent some memory; only those that use it pay.
  const { GrpcSigner } = await import('../identity/grpc-signer.ts');
  const signer = new GrpcSigner({
    address: config.caAddress,
    rootFile: config.caRootFile,
    tokenFile: config.tokenFile,
    clusterId: config.clusterId,
    ...(config.caServerName === '' ? {} : { serverName: config.caServerName }),
    revocations: () => revocations.lists,
  });
  own(signer);
  return signer;
}
