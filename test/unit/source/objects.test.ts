import { describe, expect, it } from 'vitest';
import { readDocuments } from '../../../src/source/directory/documents.ts';
import { describeRejection, parseDocument } from '../../../src/source/kubernetes/objects.ts';

function only(text: string) {
  const { documents, rejections } = readDocuments('shop.yaml', text);
  expect(rejections).toEqual([]);
  const [document] = documents;
  if (document === undefined) throw new Error('no document');
  return parseDocument(document);
}

function messages(text: string): string[] {
  const parsed = only(text);
  return parsed.kind === 'rejected' ? parsed.rejections.map(describeRejection) : [];
}

describe('a manifest', () => {
  it('is read with the defaults of Kubernetes', () => {
    const parsed = only(
      '{apiVersion: v1, kind: Pod, metadata: {name: front}, spec: {containers: [{name: web}]}}',
    );
    expect(parsed).toMatchObject({
      kind: 'object',
      key: 'v1/Pod/default/front',
      object: {
        metadata: { namespace: 'default', labels: {} },
        spec: { serviceAccountName: 'default', hostNetwork: false, restartPolicy: 'Always' },
      },
    });
  });

  it('may carry fields that the mesh does not read', () => {
    const text =
      '{apiVersion: v1, kind: Pod, metadata: {name: front}, spec: {containers: [{name: web, image: x, resources: {}}], dnsPolicy: Default}}';
    expect(only(text).kind).toBe('object');
  });

  it.each([
    [
      'a port that is text',
      '{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: "80"}]}}',
      'Service default/a: spec.ports[0].port: is "80"',
    ],
    [
      'a label that is no text',
      '{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {x: true}}}',
      'Namespace a: metadata.labels.x: is true: must be text',
    ],
    [
      'no containers',
      '{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: []}}',
      'Pod default/a: spec.containers: is []: a pod needs at least one container',
    ],
    [
      'a name in capitals',
      '{apiVersion: v1, kind: Service, metadata: {name: Shop}, spec: {}}',
      'Service default/Shop: metadata.name: is "Shop": must be lower-case',
    ],
    ['no spec', '{apiVersion: v1, kind: Pod, metadata: {name: a}}', 'Pod default/a: spec: is missing'],
    ['no kind', '{apiVersion: v1, metadata: {name: a}}', 'object: kind is missing'],
    ['no name', '{apiVersion: v1, kind: Pod, metadata: {}}', 'object: Pod without metadata.name'],
    ['text', 'hello', 'object: is not an object'],
  ])('with %s is rejected by name, field and place', (_, text, expected) => {
    expect(messages(text)[0]).toContain(`shop.yaml, document 1 (line 1): ${expected}`);
  });

  it('of a kind that restricts traffic is rejected rather than ignored while it is not understood', () => {
    const text = '{apiVersion: security.istio.io/v1, kind: Nonesuch, metadata: {name: a, namespace: shop}}';
    expect(messages(text)[0]).toContain('Nonesuch shop/a: security.istio.io/v1 Nonesuch is not understood');
  });

  it('of any other kind is passed on', () => {
    expect(only('{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}}')).toMatchObject({
      kind: 'other',
      objectKind: 'Deployment',
    });
  });
});

describe('a file of manifests', () => {
  it('says in which document and line an object stands', () => {
    const text =
      'apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\n# a comment\napiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n';
    expect(
      readDocuments('f.yaml', text).documents.map(({ origin }) => [origin.document, origin.line]),
    ).toEqual([
      [1, 1],
      [2, 6],
    ]);
  });

  it('may be JSON, may have empty documents and may hold a List', () => {
    expect(
      readDocuments('f.json', '{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"}}').documents,
    ).toHaveLength(1);
    expect(readDocuments('f.yaml', '---\n---\n').documents).toHaveLength(0);
    const list = '{apiVersion: v1, kind: List, items: [{kind: A}, {kind: B}]}';
    expect(readDocuments('f.yaml', list).documents.map(({ value }) => value)).toEqual([
      { kind: 'A' },
      { kind: 'B' },
    ]);
  });

  it('with a syntax error gives nothing of itself and names line and column', () => {
    const read = readDocuments('f.yaml', 'kind: Namespace\n---\nkind: [a\nb: c\n');
    expect(read.documents).toEqual([]);
    expect(read.rejections[0]?.reason).toMatch(/^line \d, column \d/);
  });

  it('that multiplies itself by aliases is rejected', () => {
    const lines = ['a: &a [x, x, x, x, x, x, x, x, x, x]'];
    for (const [from, to] of ['ab', 'bc', 'cd', 'de', 'ef'])
      lines.push(`${to}: &${to} [${Array(10).fill(`*${from}`).join(', ')}]`);
    const read = readDocuments('f.yaml', lines.join('\n'));
    expect(read.documents).toEqual([]);
    expect(read.rejections[0]?.reason).toMatch(/alias/i);
  });
});
