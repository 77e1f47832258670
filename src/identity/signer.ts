/** Who signs for an agent. The lab's unix socket is one; the gRPC service of a control plane is another. */
export interface CertificateSigner {
  /** Named in messages: `unix:/run/hadal/ca.sock`. */
  readonly name: string;
  /** Rejects with a HadalError; ERR_IDENTITY_REFUSED when the authority answered that it will not sign this. */
  sign(request: SigningRequest, signal: AbortSignal): Promise<SignedCertificate>;
}

/** The fields of `istio.v1.auth.IstioCertificateRequest` and its ImpersonatedIdentity. */
export interface SigningRequest {
  /** PEM. */
  readonly csr: string;
  /** SPIFFE id that the certificate shall name. */
  readonly identity: string;
  readonly lifetimeMs: number;
}

export interface SignedCertificate {
  /** PEM, leaf first, then intermediates. */
  readonly chain: readonly string[];
  /** PEM bundle of all roots that are valid now. */
  readonly roots: string;
}
