/** The record of last good versions as text: everything that was written is read again, and no more is written than fits. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type KnownObject, objectId } from '../../../src/source/kubernetes/objects.ts';
import { formatRecord, type LastGood, parseRecord } from '../../../src/source/last-good.ts';
import { authorizationPolicy, peerAuthentication } from './policy/objects.ts';
import { clusters } from './translate/arbitraries.ts';
import { service } from './translate/objects.ts';

const known = (object: KnownObject, file?: string): LastGood => ({
  id: objectId(object),
  object,
  uid: 'one',
  ...(file === undefined ? {} : { file }),
});
const plain = (value: unknown) => JSON.parse(JSON.stringify(value)) as unknown;
const policy = authorizationPolicy({
  selector: { matchLabels: { 1: 'a', b: 'c' } },
  action: 'DENY',
  rules: [{}],
});

describe('the record of last good versions', () => {
  it('gives back what was written, of every kind', () => {
    fc.assert(
      fc.property(clusters, (objects) => {
        const written = [...objects, policy, peerAuthentication({ mtls: { mode: 'STRICT' } })].map((each) =>
          known(each),
        );
        const { text, leftOut } = formatRecord({ objects: written, files: ['empty.yaml'] }, 1 << 20);
        const read = parseRecord(text);
        expect([leftOut, read.leftOut, read.record.files]).toEqual([[], [], ['empty.yaml']]);
        const sorted = written.toSorted((left, right) => (left.id < right.id ? -1 : 1));
        expect(plain(read.record.objects)).toEqual(plain(sorted));
      }),
      { numRuns: 100 },
    );
  });

  it('has no more bytes than it may: policies come first, and what is left out is named', () => {
    const services = Array.from({ length: 50 }, (_, index) => service({ name: `s${index}` }));
    const objects = [...services.map((each) => known(each)), known(policy)];
    const { text, leftOut } = formatRecord({ objects, files: [] }, 4_096);
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(4_096);
    const { record } = parseRecord(text);
    expect(record.objects.map(({ id }) => id)).toContain(objectId(policy));
    expect(record.objects.length + leftOut.length).toBe(51);
    expect(leftOut.length).toBeGreaterThan(0);
  });

  it('knows a file as a whole or not at all', () => {
    const services = Array.from({ length: 50 }, (_, index) =>
      known(service({ name: `s${index}` }), 'big.yaml'),
    );
    const objects = [...services, known(policy, 'small.yaml')];
    const { text, leftOut } = formatRecord({ objects, files: ['big.yaml', 'small.yaml'] }, 4_096);
    const { record } = parseRecord(text);
    expect([record.files, record.objects.map(({ file }) => file), leftOut]).toEqual([
      ['small.yaml'],
      ['small.yaml'],
      ['big.yaml'],
    ]);
  });
});
