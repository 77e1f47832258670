import fc from 'fast-check';
import { expect, it } from 'vitest';
import { isHadalError } from '../../../src/base/errors.ts';
import { createCsr, readCsr } from '../../../src/identity/csr.ts';
import { generateKey } from '../../../src/identity/keys.ts';

const identity = 'spiffe://cluster.local/ns/shop/sa/front';

function toPem(der: Uint8Array): string {
  return `-----BEGIN CERTIFICATE REQUEST-----\n${Buffer.from(der).toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`;
}

function outcome(pem: string): unknown {
  try {
    return readCsr(pem);
  } catch (error) {
    return error;
  }
}

it('a request with any byte changed is refused, or says the same as before', async () => {
  const pem = await createCsr(identity, await generateKey());
  const der = Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ''), 'base64');
  const change = fc.array(fc.tuple(fc.nat(der.length - 1), fc.integer({ min: 0, max: 255 })), {
    minLength: 1,
    maxLength: 4,
  });
  fc.assert(
    fc.property(change, (bytes) => {
      const changed = Buffer.from(der);
      for (const [at, value] of bytes) changed[at] = value;
      const result = outcome(toPem(changed));
      if (isHadalError(result)) expect(result.code).toBe('ERR_IDENTITY_CSR');
      else expect(result).toMatchObject({ uris: [identity], otherNames: false });
    }),
    { numRuns: 3_000 },
  );
});

it('bytes that are no request are refused in words, whatever they are', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
      expect(outcome(toPem(bytes))).toMatchObject({ code: 'ERR_IDENTITY_CSR' });
    }),
    { numRuns: 3_000 },
  );
  fc.assert(
    fc.property(fc.string({ maxLength: 400 }), (text) => {
      expect(outcome(text)).toMatchObject({ code: 'ERR_IDENTITY_CSR' });
      expect(
        outcome(`-----BEGIN CERTIFICATE REQUEST-----\n${text}\n-----END CERTIFICATE REQUEST-----\n`),
      ).toMatchObject({
        code: 'ERR_IDENTITY_CSR',
      });
    }),
    { numRuns: 2_000 },
  );
});

it('a request that nests a thousand levels deep does not exhaust the stack', () => {
  let der = Buffer.alloc(0);
  for (let level = 0; level < 1_000; level++) {
    const length =
      der.length < 128 ? Buffer.of(der.length) : Buffer.of(0x82, der.length >> 8, der.length & 255);
    der = Buffer.concat([Buffer.of(0x30), length, der]);
  }
  expect(outcome(toPem(der))).toMatchObject({ code: 'ERR_IDENTITY_CSR' });
});
