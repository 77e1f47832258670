/** Names under which a PeerAuthentication reaches agents, as policies: Istio's own, since its control plane sends them too. */

/** Denies whatever comes without identity; one for the whole mesh. */
const strict = 'istio_converted_static_strict';
/** Before the name of a PeerAuthentication whose ports differ. */
const portLevel = 'converted_peer_authentication_';

/** Underscores cannot stand in names of objects, so nobody else's policy is called so. */
export const peerAuthenticationPolicy = Object.freeze({
  strict,
  portLevel: (name: string) => `${portLevel}${name}`,
  isOne: (name: string) => name === strict || name.startsWith(portLevel),
});
