/** Envoy as the other end of an HBONE connection: its binary, its configuration, its certificate from the lab's authority. */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createCsr } from '../../src/identity/csr.ts';
import { generateKey, keyToPem } from '../../src/identity/keys.ts';
import { SocketSigner } from '../../src/identity/signing-client.ts';

/** Directory in a pod where the test's files for Envoy are mounted. */
export const envoyDirectory = '/envoy';

/** A directory in memory for test certificates, which pods may read: a key reaches no disk, not even a test's. */
export function certificateDirectory(): string {
  const directory = mkdtempSync('/dev/shm/hadal-test-');
  chmodSync(directory, 0o755);
  return directory;
}

export function envoyBinary(): string {
  return execFileSync(join(import.meta.dirname, '../../scripts/envoy'), { encoding: 'utf8' }).trim();
}

/** Writes certificate, key and roots for `identity` under `directory/name`, signed as an agent's would be. */
export async function writeEnvoyCertificate(
  directory: string,
  name: string,
  identity: string,
  authoritySocket: string,
): Promise<void> {
  const key = await generateKey();
  const request = { csr: await createCsr(identity, key), identity, lifetimeMs: 3_600_000 };
  const signed = await new SocketSigner(authoritySocket).sign(request, AbortSignal.timeout(5000));
  const target = join(directory, name);
  mkdirSync(target, { recursive: true });
  writeFileSync(join(target, 'chain.pem'), signed.chain.join('\n'));
  writeFileSync(join(target, 'key.pem'), keyToPem(key));
  writeFileSync(join(target, 'roots.pem'), signed.roots);
}

export interface EnvoyClient {
  readonly name: string;
  readonly listenPort: number;
  readonly authority: string;
  readonly tunnelAddress: string;
  readonly serverIdentity: string;
}

/** Takes TCP on `listenPort` of loopback and sends it in CONNECT streams to `tunnelAddress:15008`. */
export function clientConfiguration(client: EnvoyClient): string {
  const cluster = {
    name: 'hbone',
    type: 'STATIC',
    connect_timeout: '5s',
    typed_extension_protocol_options: {
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
        '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
        explicit_http_config: { http2_protocol_options: { allow_connect: true } },
      },
    },
    load_assignment: staticEndpoint('hbone', client.tunnelAddress, 15008),
    transport_socket: tls('UpstreamTlsContext', client.name, client.serverIdentity, {}),
  };
  const filter = {
    name: 'envoy.filters.network.tcp_proxy',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
      stat_prefix: 'out',
      cluster: 'hbone',
      tunneling_config: { hostname: client.authority },
    },
  };
  const listener = {
    name: 'out',
    address: socketAddress('127.0.0.1', client.listenPort),
    filter_chains: [{ filters: [filter] }],
  };
  return JSON.stringify({ static_resources: { listeners: [listener], clusters: [cluster] } });
}

/** Ends HBONE on 15008 and delivers each CONNECT to `port` of loopback, whatever its authority. */
export function serverConfiguration(server: { name: string; clientIdentity: string; port: number }): string {
  const manager = {
    '@type':
      'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
    stat_prefix: 'in',
    codec_type: 'HTTP2',
    http2_protocol_options: { allow_connect: true },
    upgrade_configs: [{ upgrade_type: 'CONNECT' }],
    http_filters: [
      {
        name: 'envoy.filters.http.router',
        typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
      },
    ],
    route_config: {
      virtual_hosts: [
        {
          name: 'any',
          domains: ['*'],
          routes: [
            {
              match: { connect_matcher: {} },
              route: {
                cluster: 'app',
                timeout: '0s',
                upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: {} }],
              },
            },
          ],
        },
      ],
    },
  };
  const listener = {
    name: 'in',
    address: { socket_address: { address: '::', port_value: 15008, ipv4_compat: true } },
    filter_chains: [
      {
        filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: manager }],
        transport_socket: tls('DownstreamTlsContext', server.name, server.clientIdentity, {
          require_client_certificate: true,
        }),
      },
    ],
  };
  const cluster = {
    name: 'app',
    type: 'STATIC',
    connect_timeout: '5s',
    load_assignment: staticEndpoint('app', '127.0.0.1', server.port),
  };
  return JSON.stringify({ static_resources: { listeners: [listener], clusters: [cluster] } });
}

function tls(
  context: 'UpstreamTlsContext' | 'DownstreamTlsContext',
  name: string,
  peerIdentity: string,
  more: object,
) {
  const file = (part: string) => ({ filename: join(envoyDirectory, name, part) });
  return {
    name: 'envoy.transport_sockets.tls',
    typed_config: {
      '@type': `type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.${context}`,
      ...more,
      common_tls_context: {
        alpn_protocols: ['h2'],
        tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
        tls_certificates: [{ certificate_chain: file('chain.pem'), private_key: file('key.pem') }],
        validation_context: {
          trusted_ca: file('roots.pem'),
          match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: peerIdentity } }],
        },
      },
    },
  };
}

function staticEndpoint(cluster: string, address: string, port: number) {
  return {
    cluster_name: cluster,
    endpoints: [{ lb_endpoints: [{ endpoint: { address: socketAddress(address, port) } }] }],
  };
}

function socketAddress(address: string, port: number) {
  return { socket_address: { address, port_value: port } };
}
