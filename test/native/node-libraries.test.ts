/**
 * OpenSSL and nghttp2 are Node's own, by its executable's symbols: a library that was linked beside them would be shadowed in
 * part, and headers and code would disagree. So each symbol that the addon wants from nowhere by name must be there.
 */
import { execFileSync } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { nativeAddon } from '../../src/native/addon.ts';

const node = realpathSync(process.execPath);
const addonPath =
  process.env.HADAL_NATIVE_ADDON ?? join(import.meta.dirname, '../../build/Release/hadal.node');
const tlsOrHttp2 = /^(SSL|TLS|BIO|X509|ASN1|ERR|EVP|PEM|GENERAL_NAMES?|OPENSSL|OpenSSL|CRYPTO|nghttp2)_/;

/** Undefined symbols of a shared object. Those of the libraries that it links have a version: `bpf_map__fd@LIBBPF_0.0.1`. */
function undefinedSymbols(path: string): string[] {
  const listed = execFileSync('nm', ['--dynamic', '--undefined-only', '--format=posix', path], {
    encoding: 'utf8',
    maxBuffer: 8 << 20,
  });
  return listed
    .trim()
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, type]) => type === 'U')
    .map(([name = '']) => name);
}

const wanted = undefinedSymbols(addonPath).filter((symbol) => tlsOrHttp2.test(symbol));

describe('TLS and HTTP/2 of the addon', () => {
  it('are those of Node, each function of them', () => {
    expect(wanted).toEqual(expect.arrayContaining(['SSL_do_handshake', 'nghttp2_session_mem_recv']));
    const elsewhere = wanted
      .map((symbol) => ({ symbol, file: nativeAddon().symbolOrigin(symbol) }))
      .filter(({ file }) => file !== node);
    expect(elsewhere).toEqual([]);
  });

  it('are linked from no other library', () => {
    const linked = execFileSync('readelf', ['--dynamic', '--wide', addonPath], { encoding: 'utf8' });
    expect(linked).toContain('Shared library: [libbpf.so.1]');
    expect(linked).not.toMatch(/Shared library: \[lib(ssl|crypto|nghttp2)/);
    // What Node lacks is an error of the loader and not a crash at the first call.
    expect(linked).toMatch(/FLAGS_1.*\bNOW\b/);
  });

  it('would be missed: what Node does not export comes from nowhere, what another library has comes from there', () => {
    const addon = nativeAddon();
    expect(addon.symbolOrigin('nghttp2_version')).toBeUndefined();
    expect(addon.symbolOrigin('bpf_object__open')).toMatch(/\/libbpf\.so/);
    expect(addon.symbolOrigin('napi_create_object')).toBe(node);
  });

  it('are of the versions that Node names', () => {
    expect(nativeAddon()).toMatchObject({
      opensslVersion: process.versions.openssl,
      nghttp2Version: process.versions.nghttp2,
    });
  });
});
