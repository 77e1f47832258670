// @types/node-forge describes the whole package. Loading two files of it instead saves 6 MB and 30 ms at start.
declare module 'node-forge/lib/asn1.js' {
  import forge from 'node-forge';

  const asn1: Omit<typeof forge.asn1, 'fromDer'> & {
    fromDer(
      bytes: forge.Bytes,
      options: { strict: boolean; parseAllBytes: boolean; decodeBitStrings: boolean; maxDepth?: number },
    ): forge.asn1.Asn1;
  };
  export default asn1;
}

declare module 'node-forge/lib/pem.js' {
  import forge from 'node-forge';

  const pem: typeof forge.pem;
  export default pem;
}
