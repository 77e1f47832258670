import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { snakeCase } from '../../../src/model/wire/decoder.ts';
import { policyDocument, stateDocument, stateText } from '../../../src/source/state-document.ts';
import { keepLastGood, parseStateFile } from '../../../src/source/state-file.ts';
import { policy, service, workload } from './arbitraries.ts';
import { schemaProblems } from './json-schema.ts';

const schema: unknown = JSON.parse(
  readFileSync(fileURLToPath(new URL('../../../docs/state-file.schema.json', import.meta.url)), 'utf8'),
);

const bookshop = `
workloads:
  - uid: cluster//Pod/shop/front
    name: front
    namespace: shop
    addresses: [10.0.1.1, 'fd00::1']
    tunnelProtocol: HBONE
    serviceAccount: front
    services:
      shop/front.shop.svc:
        ports: [{servicePort: 80, targetPort: 8080}]
services:
  - name: front
    namespace: shop
    hostname: front.shop.svc
    addresses: [10.96.0.1, east/10.96.0.2, {network: west, address: 10.96.0.3}, 10.97.0.0/16]
    ports: [{servicePort: 80, targetPort: 8080, appProtocol: HTTP11}]
    waypoint: {hostname: {namespace: shop, hostname: gate.shop.svc}, hboneMtlsPort: 15008}
policies:
  - name: only-front
    namespace: shop
    scope: NAMESPACE
    action: ALLOW
    rules:
      - clauses:
          - matches:
              - principals: [{exact: cluster.local/ns/shop/sa/front}]
                sourceIps: [10.0.0.0/8, {address: 'fd00::', length: 8}]
                destinationPorts: [8080]
`;

const problemsOf = (text: string) => parseStateFile(text).problems.map(({ message }) => message);
const workloadWith = (field: string) => `workloads:\n  - uid: u\n    ${field}\n`;

describe('a state file', () => {
  it('gives workloads, services and policies', () => {
    const { resources, problems } = parseStateFile(bookshop);
    expect(problems).toEqual([]);
    expect(resources.workloads[0]).toMatchObject({
      uid: 'cluster//Pod/shop/front',
      addresses: ['10.0.1.1', 'fd00::1'],
      tunnelProtocol: 'HBONE',
      capacity: 1,
      services: [
        {
          service: 'shop/front.shop.svc',
          ports: [{ servicePort: 80, targetPort: 8080, appProtocol: 'UNKNOWN' }],
        },
      ],
    });
    expect(resources.services[0]?.addresses).toEqual([
      { network: '', address: '10.96.0.1', length: undefined },
      { network: 'east', address: '10.96.0.2', length: undefined },
      { network: 'west', address: '10.96.0.3', length: undefined },
      { network: '', address: '10.97.0.0', length: 16 },
    ]);
    expect(resources.policies[0]?.rules[0]?.clauses[0]?.matches[0]).toMatchObject({
      principals: [{ kind: 'exact', value: 'cluster.local/ns/shop/sa/front' }],
      sourceIps: [
        { address: '10.0.0.0', length: 8 },
        { address: 'fd00::', length: 8 },
      ],
      destinationPorts: [8080],
    });
  });

  it('may write fields as the .proto does, enums by number and numbers in quotes', () => {
    const snake = bookshop
      .replaceAll(
        /(tunnelProtocol|serviceAccount|servicePort|targetPort|appProtocol|hboneMtlsPort|sourceIps|destinationPorts):/g,
        (name) => snakeCase(name),
      )
      .replace('HBONE', '1')
      .replace('HTTP11', '1')
      .replace(': 8080', ": '8080'");
    expect(snake).toContain('tunnel_protocol: 1');
    expect(parseStateFile(snake)).toEqual(parseStateFile(bookshop));
  });

  it('takes null for a field that is not given', () => {
    expect(parseStateFile(workloadWith('waypoint: null')).resources.workloads[0]?.waypoint).toBeUndefined();
    expect(parseStateFile('workloads:\nservices:\n').resources.workloads).toEqual([]);
  });

  it('may be JSON', () => {
    expect(parseStateFile('{"workloads": [{"uid": "u"}]}').resources.workloads).toHaveLength(1);
  });

  it('passes its own JSON Schema', () => {
    const document = stateDocument({ ...parseStateFile(bookshop).resources, policies: [] });
    expect(schemaProblems(JSON.parse(JSON.stringify(document)), schema)).toEqual([]);
  });
});

describe('a broken document', () => {
  it.each([
    ['not closed', 'workloads: [\n  {uid: u}\n', /line 3/],
    ['indented wrongly', 'workloads:\n  - uid: u\n   name: x\n', /line [23]/],
    ['with a key that stands twice', 'workloads: []\nservices: []\nworkloads: []\n', /line 3.*unique/],
    ['empty', '', /line 1.*empty/],
    ['only a comment', '# nothing\n', /empty/],
    ['a list', '- uid: u\n', /expected a map/],
    ['with an unknown part', 'services: []\nworkload: []\n', /line 2.*workload is not known/],
    ['with a part that is no list', 'services: []\nworkloads: {}\n', /line 2.*not a list/],
    ['of two documents', 'workloads: []\n---\nservices: []\n', /line 2/],
    ['with too many aliases', `workloads: [&a [1,1], ${'*a, '.repeat(200)}*a]`, /./],
  ])('%s is refused as a whole, with its line', (_, text, message) => {
    expect(() => parseStateFile(text)).toThrow(
      expect.objectContaining({ code: 'ERR_STATE_FILE', message: expect.stringMatching(message) }),
    );
  });
});

describe('a broken resource', () => {
  it('is named with line and field, and the rest is kept', () => {
    const text = `workloads:
  - uid: good
  - uid: bad
    addresses:
      - 10.0.0.1
      - 10.0.0.256
  - uid: fine
`;
    const { resources, problems, rejected } = parseStateFile(text);
    expect(resources.workloads.map(({ uid }) => uid)).toEqual(['good', 'fine']);
    expect(rejected.workloads).toEqual(['bad']);
    expect(problems).toEqual([
      {
        resource: 'workload bad',
        field: 'workloads[1].addresses[1]',
        line: 6,
        column: 9,
        message: 'workload bad, line 6: addresses[1] expected an IP address, got "10.0.0.256"',
      },
    ]);
  });

  it('tells all of its mistakes at once', () => {
    const text = 'services:\n  - namespace: shop\n    hostname: A\n    canonical: maybe\n    color: red\n';
    expect(problemsOf(text).map((message) => message.replace(/.*line/, 'line').slice(0, 40))).toEqual([
      'line 5: color is not a field here; known',
      'line 3: hostname expected a host name in',
      'line 4: canonical expected true or false',
    ]);
  });

  it.each([
    ['an unknown field', 'adresses: []', /adresses is not a field here/],
    [
      'a field twice',
      'serviceAccount: a\n    service_account: b',
      /service_account is given already, as serviceAccount/,
    ],
    ['a number for a name', 'name: 7', /expected text, got 7; put it in quotes/],
    [
      'an enum nobody knows',
      'tunnelProtocol: VPN',
      /expected one of NONE, HBONE, LEGACY_ISTIO_MTLS, got "VPN"/,
    ],
    ['an enum number nobody knows', 'status: 2', /expected one of HEALTHY, UNHEALTHY, got 2/],
    ['a negative capacity', 'capacity: -1', /whole number/],
    ['half a capacity', 'capacity: 1.5', /whole number/],
    ['a map for a list', 'addresses: {a: 1}', /expected a list, got a map/],
    ['a list for a map', 'locality: []', /expected a map, got a list/],
    ['a service that is no key', 'services: {front: {}}', /services.front expected namespace\/hostname/],
    [
      'a policy that is no name',
      'authorizationPolicies: [deny]',
      /authorizationPolicies\[0\] expected namespace\/name/,
    ],
    [
      'a port of 0',
      'services: {a/b: {ports: [{servicePort: 0}]}}',
      /servicePort expected a whole number from 1/,
    ],
    [
      'a port twice',
      'services: {a/b: {ports: [{servicePort: 1}, {servicePort: 1}]}}',
      /service port 1 is given twice/,
    ],
    ['a waypoint of nothing', 'waypoint: {hboneMtlsPort: 1}', /either hostname or address/],
    ['a waypoint of a range', 'waypoint: {address: 10.0.0.0/8}', /not a range/],
    ['an identity that no certificate can carry', 'tunnelProtocol: HBONE', /make no SPIFFE id/],
  ])('with %s is rejected', (_, field, message) => {
    const problems = problemsOf(workloadWith(field));
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(message);
    expect(problems[0]).toMatch(/^workload u, line [234]: /);
  });

  it.each([
    ['without name', 'namespace: a', /policies\[0\], line 2: name is missing/],
    ['with an action nobody knows', 'action: CUSTOM', /expected one of ALLOW, DENY, AUDIT, got "CUSTOM"/],
    ['with an extension', 'extensions: [{name: x}]', /not understood/],
    [
      'with a match nobody knows',
      'rules: [{clauses: [{matches: [{paths: [/a]}]}]}]',
      /paths is not a field here/,
    ],
    [
      'with two string matches in one',
      'rules: [{clauses: [{matches: [{namespaces: [{exact: a, prefix: b}]}]}]}]',
      /expected one of exact/,
    ],
    [
      'with a string match of nothing',
      'rules: [{clauses: [{matches: [{namespaces: [{}]}]}]}]',
      /expected one of exact/,
    ],
    [
      'with an address without length',
      'rules: [{clauses: [{matches: [{sourceIps: [{address: 10.0.0.1}]}]}]}]',
      /length/,
    ],
    ['with a port too large', 'rules: [{clauses: [{matches: [{destinationPorts: [70000]}]}]}]', /1 to 65535/],
  ])('policy %s is rejected', (_, field, message) => {
    const name = /name is missing/.test(message.source) ? '' : 'name: p\n    namespace: a\n    ';
    expect(problemsOf(`policies:\n  - ${name}${field}\n`)[0]).toMatch(message);
  });

  it('that stands twice is used once', () => {
    const { resources, problems } = parseStateFile(
      'workloads:\n  - uid: u\n    name: first\n  - uid: u\n    name: second\n',
    );
    expect(resources.workloads.map(({ name }) => name)).toEqual(['first']);
    expect(problems[0]?.message).toBe('workload u, line 4: stands in the file already; this one is not used');
  });

  it('a load balancing scope that says nothing is rejected', () => {
    const text =
      'services:\n  - {namespace: a, hostname: b, loadBalancing: {routingPreference: [UNSPECIFIED_SCOPE]}}\n';
    expect(problemsOf(text)[0]).toMatch(/expected one of REGION/);
  });

  it('points through aliases at the line where the value stands', () => {
    const text = 'workloads:\n  - &a\n    uid: u\n    color: red\n  - *a\n';
    expect(parseStateFile(text).problems.map(({ line }) => line)).toEqual([4, 4]);
  });
});

describe('keepLastGood', () => {
  const before = parseStateFile(
    'workloads: [{uid: a, name: old}, {uid: b, name: old}]\npolicies: [{namespace: n, name: p}]\n',
  ).resources;

  it('keeps what was rejected as it was, and takes everything else from the new file', () => {
    const content = parseStateFile(
      'workloads: [{uid: a, name: new, oops: 1}, {uid: b, name: new}]\npolicies: [{namespace: n, name: p, action: 7}]\n',
    );
    const kept = keepLastGood(content, before);
    expect(kept.workloads.map(({ uid, name }) => `${uid} ${name}`)).toEqual(['b new', 'a old']);
    expect(kept.policies).toEqual(before.policies);
  });

  it('keeps nothing that was removed, or never seen, or given twice', () => {
    const content = parseStateFile(
      'workloads: [{uid: b, name: new}, {uid: b, name: newer}, {uid: c, oops: 1}]\npolicies: []\n',
    );
    expect(keepLastGood(content, before).workloads.map(({ uid, name }) => `${uid} ${name}`)).toEqual([
      'b new',
    ]);
    expect(keepLastGood(content, before).policies).toEqual([]);
  });

  it('keeps all that is missing while the name of one that was rejected cannot be read: it may be that one', () => {
    const content = parseStateFile(
      'workloads: [{uid: b}, {uid: 7}]\npolicies: [{namespace: n, nmae: p}, {namespace: n, name: q}]\n',
    );
    expect(keepLastGood(content, before).policies.map(({ name }) => name)).toEqual(['q', 'p']);
    expect(keepLastGood(content, before).workloads.map(({ uid }) => uid)).toEqual(['b', 'a']);
  });

  it('keeps a kind that the file does not mention: half a file is no order to end all policies', () => {
    const half = parseStateFile('workloads: [{uid: b}]\nservices: []\n');
    expect(half.missing).toEqual(['policies']);
    expect(keepLastGood(half, before).policies).toEqual(before.policies);
    expect(keepLastGood(half, before).workloads.map(({ uid }) => uid)).toEqual(['b']);
  });
});

const mesh = fc.record({
  workloads: fc.uniqueArray(workload, { maxLength: 3, selector: ({ uid }) => uid }),
  services: fc.uniqueArray(service, {
    maxLength: 3,
    selector: (each) => `${each.namespace}/${each.hostname}`,
  }),
  policies: fc.uniqueArray(policy, { maxLength: 3, selector: (each) => `${each.namespace}/${each.name}` }),
});

describe('any mesh', () => {
  it('comes back from its state file as it went', () => {
    fc.assert(
      fc.property(mesh, (given) => {
        const text = stateText({ ...given, policies: given.policies.map(policyDocument) });
        const { resources, problems } = parseStateFile(text);
        expect(problems).toEqual([]);
        expect(resources).toEqual(given);
      }),
      { numRuns: 100 },
    );
  });

  it('passes the JSON Schema in either spelling', () => {
    const inSnakeCase = (value: unknown): unknown => {
      if (Array.isArray(value)) return value.map(inSnakeCase);
      if (value === null || typeof value !== 'object') return value;
      return Object.fromEntries(
        Object.entries(value).map(([key, each]) => [
          key.includes('/') ? key : snakeCase(key),
          inSnakeCase(each),
        ]),
      );
    };
    fc.assert(
      fc.property(mesh, (given) => {
        const document: unknown = JSON.parse(
          JSON.stringify(stateDocument({ ...given, policies: given.policies.map(policyDocument) })),
        );
        expect(schemaProblems(document, schema)).toEqual([]);
        expect(schemaProblems(inSnakeCase(document), schema)).toEqual([]);
        expect(parseStateFile(stringify(inSnakeCase(document))).resources).toEqual(given);
      }),
      { numRuns: 80 },
    );
  });

  it('is refused by the JSON Schema wherever a field is unknown', () => {
    expect(schemaProblems({ workloads: [{ uid: 'u', color: 'red' }] }, schema)).toEqual([
      '$.workloads[0].color is unknown',
    ]);
    expect(schemaProblems({ workloads: [{}] }, schema)).toEqual(['$.workloads[0].uid is missing']);
    expect(
      schemaProblems({ policies: [{ name: 'a', namespace: 'b', action: 'CUSTOM' }] }, schema),
    ).not.toEqual([]);
  });
});

describe('the parser', () => {
  it('either refuses a document or gives frozen resources, whatever the bytes', () => {
    const lines = fc.array(
      fc.constantFrom(...bookshop.split('\n'), '  - uid: [', '\t', ': :', '&a *a', '"'),
      { maxLength: 25 },
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary-ascii' }),
          lines.map((each) => each.join('\n')),
        ),
        (text) => {
          const result = attempt(text);
          expect(result === 'ERR_STATE_FILE' || Object.isFrozen(result)).toBe(true);
        },
      ),
      { numRuns: 1000 },
    );
  });

  it('never breaks on a value of the wrong kind anywhere', () => {
    fc.assert(
      fc.property(
        fc.record({ workloads: fc.jsonValue(), services: fc.jsonValue(), policies: fc.jsonValue() }),
        (document) => {
          attempt(JSON.stringify(document));
        },
      ),
      { numRuns: 500 },
    );
    const fields = [
      'uid',
      'addresses',
      'waypoint',
      'services',
      'locality',
      'applicationTunnel',
      'rules',
      'ports',
      'hostname',
      'namespace',
      'loadBalancing',
    ];
    fc.assert(
      fc.property(
        fc.dictionary(fc.constantFrom(...fields), fc.jsonValue()),
        fc.constantFrom('workloads', 'services', 'policies'),
        (each, kind) => {
          attempt(JSON.stringify({ [kind]: [each] }));
        },
      ),
      { numRuns: 1500 },
    );
  });

  it('reads 10,000 workloads', () => {
    const workloads = Array.from({ length: 10_000 }, (_, index) => ({
      uid: `c//Pod/shop/p${index}`,
      namespace: 'shop',
      addresses: [`10.${index >> 8}.${index & 255}.1`],
      tunnelProtocol: 'HBONE',
    }));
    expect(parseStateFile(JSON.stringify({ workloads })).resources.workloads).toHaveLength(10_000);
  });
});

function attempt(text: string): unknown {
  try {
    return parseStateFile(text);
  } catch (error) {
    return (error as { code?: string }).code;
  }
}
