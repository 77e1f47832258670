/** Whatever stands in a directory of manifests, reading it ends in objects and rejections, never in an exception. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readTcpSegments } from '../../../src/lab/pcap.ts';
import { readDocuments } from '../../../src/source/directory/documents.ts';
import { describeRejection, parseDocument } from '../../../src/source/kubernetes/objects.ts';
import { stateText } from '../../../src/source/state-document.ts';
import { parseStateFile } from '../../../src/source/state-file.ts';
import { clusterObjects, translateMesh } from '../../../src/source/translate/mesh.ts';

const long = process.env.HADAL_LONG === '1';
const runs = long ? 20_000 : 200;
const timeout = long ? 300_000 : 20_000;

const kinds = fc.constantFrom('Namespace', 'ServiceAccount', 'Pod', 'Service');
const scalar = fc.oneof(
  fc.string(),
  fc.integer(),
  fc.boolean(),
  fc.constant(null),
  fc.constantFrom('shop', 'front', '10.0.0.1', 'fd00::1', 80, 'http'),
);
const keys = fc.constantFrom(
  'metadata',
  'spec',
  'status',
  'name',
  'namespace',
  'labels',
  'annotations',
  'containers',
  'ports',
  'port',
  'targetPort',
  'selector',
  'podIPs',
  'ip',
  'conditions',
  'type',
  'env',
  'command',
  'clusterIPs',
  'app',
  '__proto__',
  'constructor',
);
const { anything } = fc.letrec((tie) => ({
  anything: fc.oneof(
    { maxDepth: 4 },
    scalar,
    fc.array(tie('anything'), { maxLength: 4 }),
    fc.dictionary(keys, tie('anything'), { maxKeys: 6 }),
  ),
}));
/** Close to right, so that a good part is accepted. */
const word = fc.constantFrom('front', 'back', 'a', 'x1', 'shop');
const address = fc.constantFrom(
  '10.0.0.1',
  '10.0.0.2',
  'fd00::1',
  'FD00:0:0::2',
  '::ffff:10.0.0.3',
  '',
  '999.1.1.1',
  'None',
);
const labels = fc.dictionary(
  fc.constantFrom(
    'app',
    'version',
    'istio.io/dataplane-mode',
    'istio.io/use-waypoint',
    'service.istio.io/canonical-name',
  ),
  word,
  { maxKeys: 4 },
);
const metadata = fc.record({
  name: word,
  namespace: word,
  labels,
  annotations: fc.constantFrom({}, { 'ambient.istio.io/redirection': 'enabled' }),
});
const port = fc.record({
  name: fc.constantFrom('http', 'grpc', 'x'),
  port: fc.integer({ min: 0, max: 65536 }),
  targetPort: fc.constantFrom(80, 'http', 'none', 0),
  protocol: fc.constantFrom('TCP', 'UDP'),
});
const spec = fc.record({
  nodeName: word,
  containers: fc.constantFrom(
    [{ name: 'c', ports: [{ name: 'http', containerPort: 8080 }] }],
    [{ name: 'c' }],
    [],
  ),
  hostNetwork: fc.boolean(),
  selector: labels,
  ports: fc.array(port, { maxLength: 3 }),
  clusterIPs: fc.array(address, { maxLength: 2 }),
  trafficDistribution: fc.constantFrom('PreferClose', 'Nonsense'),
});
const status = fc.record({
  phase: fc.constantFrom('Running', 'Pending', 'Failed'),
  podIPs: fc.array(fc.record({ ip: address }), { maxLength: 3 }),
});
const object = fc.record({
  apiVersion: fc.oneof(
    { weight: 8, arbitrary: fc.constant('v1') },
    { weight: 1, arbitrary: fc.constantFrom('v2', 'security.istio.io/v1') },
  ),
  kind: kinds,
  metadata: fc.oneof({ weight: 6, arbitrary: metadata }, { weight: 1, arbitrary: anything }),
  spec: fc.oneof({ weight: 6, arbitrary: spec }, { weight: 1, arbitrary: anything }),
  status: fc.oneof({ weight: 6, arbitrary: status }, { weight: 1, arbitrary: anything }),
});

function read(text: string) {
  const { documents, rejections } = readDocuments('f.yaml', text);
  const parsed = documents.map(parseDocument);
  return {
    others: parsed.filter((one) => one.kind === 'other').length,
    objects: parsed.flatMap((one) => (one.kind === 'object' ? [one.object] : [])),
    rejections: [...rejections, ...parsed.flatMap((one) => (one.kind === 'rejected' ? one.rejections : []))],
  };
}

describe('manifests', () => {
  it('of any text are read without an exception', { timeout }, () => {
    const text = fc.oneof(
      fc.string(),
      fc.string({ unit: 'binary' }),
      fc
        .array(
          fc.constantFrom(
            'a: ',
            '- ',
            '\n',
            '---\n',
            '&x ',
            '*x',
            '{',
            '}',
            '[',
            ']',
            '"',
            '!!',
            '|\n',
            '\t',
            '  ',
            'kind',
          ),
        )
        .map((parts) => parts.join('')),
    );
    fc.assert(
      fc.property(text, (given) => {
        for (const rejection of read(given).rejections)
          expect(describeRejection(rejection)).toContain('f.yaml, document');
      }),
      { numRuns: runs },
    );
  });

  it('of any shape become objects or rejections that name the field', { timeout }, () => {
    fc.assert(
      fc.property(fc.array(object, { maxLength: 3 }), (given) => {
        const { objects, others, rejections } = read(given.map((one) => JSON.stringify(one)).join('\n---\n'));
        expect(objects.length + others + rejections.length).toBeGreaterThanOrEqual(given.length);
        for (const { reason } of rejections) expect(reason).not.toBe('');
      }),
      { numRuns: runs },
    );
  });

  it('that are accepted translate to a state file that is accepted', { timeout }, () => {
    fc.assert(
      fc.property(fc.array(object, { maxLength: 6 }), (given) => {
        const { objects } = read(given.map((one) => JSON.stringify(one)).join('\n---\n'));
        const unique = [
          ...new Map(
            objects.map((one) => [`${one.kind}/${one.metadata.namespace}/${one.metadata.name}`, one]),
          ).values(),
        ];
        const mesh = translateMesh(clusterObjects(unique));
        const again = parseStateFile(stateText({ ...mesh, policies: [] }));
        expect(again.problems).toEqual([]);
        expect(again.resources).toEqual(mesh);
      }),
      { numRuns: runs },
    );
  });
});

describe('a capture file', () => {
  it('of any bytes after its head is read without an exception', { timeout }, () => {
    const head = Buffer.alloc(24);
    head.writeUInt32LE(0xa1b2c3d4, 0);
    head.writeUInt32LE(1, 20);
    const frames = fc.array(
      fc.tuple(fc.constantFrom([8, 0], [0x86, 0xdd], [0, 0]), fc.uint8Array({ maxLength: 90 })),
      { maxLength: 5 },
    );
    fc.assert(
      fc.property(frames, fc.uint8Array({ maxLength: 20 }), (given, rest) => {
        const records = given.flatMap(([type, body]) => {
          const record = Buffer.alloc(16);
          record.writeUInt32LE(14 + body.length, 8);
          return [record, Buffer.alloc(12), Buffer.from(type), Buffer.from(body)];
        });
        for (const { payload } of readTcpSegments(Buffer.concat([head, ...records, Buffer.from(rest)]))) {
          expect(payload.length).toBeLessThan(100);
        }
      }),
      { numRuns: runs },
    );
  });
});
