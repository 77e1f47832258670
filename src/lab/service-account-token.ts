/** Service account tokens of the lab: JWTs in the form of projected Kubernetes tokens, signed by a key of the lab. */
import { createHmac, randomBytes } from 'node:crypto';
import type { LabPod } from './pod.ts';

const lifetimeSeconds = 12 * 3600;

export class TokenSigner {
  readonly #key = randomBytes(32);
  readonly #issuer: string;
  readonly #issuedAt = Math.floor(Date.now() / 1000);

  constructor(lab: string) {
    this.#issuer = `https://lab.hadal.io/${lab}`;
  }

  /** The same pod gets the same token as long as the lab runs. */
  tokenFor(pod: LabPod): string {
    const account = pod.plan.object.spec.serviceAccountName;
    const claims = {
      aud: ['istio-ca'],
      exp: this.#issuedAt + lifetimeSeconds,
      iat: this.#issuedAt,
      iss: this.#issuer,
      sub: `system:serviceaccount:${pod.namespace}:${account}`,
      'kubernetes.io': {
        namespace: pod.namespace,
        node: { name: pod.node },
        pod: { name: pod.name, uid: pod.podUid },
        serviceaccount: { name: account },
      },
    };
    const body = [{ alg: 'HS256', typ: 'JWT' }, claims].map(encoded).join('.');
    return `${body}.${createHmac('sha256', this.#key).update(body).digest('base64url')}`;
  }
}

const encoded = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
