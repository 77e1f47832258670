// Asks a control plane for a certificate with a token that it was given: `ask-certificate.ts ADDRESS ROOT_FILE TOKEN_FILE IDENTITY`.
// Prints one JSON line: {"signed":true} or {"signed":false,"code":...,"message":...}.
import { createCsr } from '../../../src/identity/csr.ts';
import { GrpcSigner } from '../../../src/identity/grpc-signer.ts';
import { generateKey } from '../../../src/identity/keys.ts';

const [address = '', rootFile = '', tokenFile = '', identity = ''] = process.argv.slice(2);
const signer = new GrpcSigner({ address, rootFile, tokenFile });
const csr = await createCsr(identity, await generateKey());
try {
  await signer.sign({ csr, identity, lifetimeMs: 60_000 }, AbortSignal.timeout(8_000));
  console.log(JSON.stringify({ signed: true }));
} catch (error) {
  const { code, message } = error as Error & { code: string };
  console.log(JSON.stringify({ signed: false, code, message }));
}
signer.close();
