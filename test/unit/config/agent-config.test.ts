import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readAgentConfig } from '../../../src/config/agent-config.ts';
import { agentOptions } from '../../../src/config/agent-options.ts';
import { describeOptions } from '../../../src/config/read-options.ts';
import { defaultWorkers } from '../../../src/config/tunnel-options.ts';

const read = (environment: Record<string, string> = {}, overrides: Record<string, string> = {}) =>
  readAgentConfig({ environment, overrides });

function problemsOf(
  environment: Record<string, string>,
  overrides: Record<string, string> = {},
): readonly string[] {
  try {
    read(environment, overrides);
    return [];
  } catch (error) {
    expect(error).toMatchObject({ code: 'ERR_CONFIG' });
    return (error as { details: { problems: readonly string[] } }).details.problems;
  }
}

describe('the configuration of the agent', () => {
  it('has a default for everything', () => {
    const { values, sources, warnings } = read();
    expect(values).toMatchObject({
      clusterId: 'Kubernetes',
      trustDomain: 'cluster.local',
      trustDomainAliases: [],
      bpffs: '/sys/fs/bpf',
      cniSocket: '/run/hadal/cni.sock',
      streamWindowBytes: 4 * 1024 * 1024,
      connectTimeoutMs: 10_000,
      questionTimeoutMs: 5000,
      flowIntervalMs: 5000,
      drainDeadlineMs: 20_000,
      adminPort: 15_000,
      metricsPort: 15_020,
      readinessPort: 15_021,
      olderConnections: 'destroy',
      allowUnknownDestinations: false,
    });
    expect(new Set(Object.values(sources))).toEqual(new Set(['default']));
    expect(warnings).toEqual([]);
  });

  it('knows where each value came from; an argument wins over the environment', () => {
    const { values, sources } = read({ HADAL_NETWORK: 'east', HADAL_WORKERS: '2' }, { workers: '3' });
    expect([values.network, sources.network]).toEqual(['east', 'environment']);
    expect([values.workers, sources.workers]).toEqual([3, 'argument']);
    expect(sources.bpffs).toBe('default');
  });

  it('works out defaults from other values', () => {
    const { values } = read({ HADAL_RUNTIME_DIR: '/run/two/' });
    expect([values.cniSocket, values.authoritySocket]).toEqual([
      '/run/two/cni.sock',
      '/run/two/authority.sock',
    ]);
  });

  it('is frozen', () => {
    const { values, sources } = read({ HADAL_POD_RANGES: '10.0.0.0/8' });
    expect([values, sources, values.podRanges, values.podRanges[0]].every(Object.isFrozen)).toBe(true);
  });

  it('takes an empty variable as given', () => {
    expect(read({ HADAL_LOCAL_CONGESTION_CONTROL: '' }).values.localCongestionControl).toBe('');
    expect(problemsOf({ HADAL_TRUST_DOMAIN: '' })).toHaveLength(1);
  });

  it('reports every mistake at once, with variable and value', () => {
    expect(
      problemsOf({
        HADAL_WORKERS: 'many',
        HADAL_DRAIN_DEADLINE: '20',
        HADAL_POD_RANGES: '10.0.0.0/8, nonsense',
        HADAL_OLDER_CONNECTIONS: 'ignore',
        HADAL_DRAIN_DEADLNE: '5s',
      }),
    ).toEqual([
      'HADAL_POD_RANGES="10.0.0.0/8, nonsense": expected ranges such as 10.0.0.0/16 or fd00::/48',
      'HADAL_OLDER_CONNECTIONS="ignore": expected one of destroy, keep',
      'HADAL_WORKERS="many": expected a whole number from 1 to 64',
      expect.stringContaining('HADAL_DRAIN_DEADLINE="20": expected a duration such as 500ms or 20s'),
      'HADAL_DRAIN_DEADLNE is not an option; did you mean HADAL_DRAIN_DEADLINE?',
    ]);
  });

  it('puts all mistakes into the message and points at the documentation', () => {
    expect(() => read({ HADAL_WORKERS: '0', HADAL_ADMIN_PORT: '0' })).toThrow(
      /has 2 problems; see docs\/configuration.md\n {2}HADAL_WORKERS.*\n {2}HADAL_ADMIN_PORT/,
    );
  });

  it.each([
    [{ HADAL_METRICS_PORT: '15000' }, /must differ/],
    [{ HADAL_HTTP2_STREAM_WINDOW: '32MiB' }, /larger than HADAL_HTTP2_CONNECTION_WINDOW/],
    [{ HADAL_POOL_BUSY_STREAMS: '200' }, /larger than HADAL_POOL_MAX_STREAMS/],
    [{ HADAL_CNI_SOCKET: '/run/a', HADAL_AUTHORITY_SOCKET: '/run/a' }, /must differ/],
  ])('finds that %j do not go together', (environment, message) => {
    expect(problemsOf(environment as unknown as Record<string, string>)).toEqual([
      expect.stringMatching(message),
    ]);
  });
});

describe('names of variables', () => {
  it.each([
    ['HADAL_LOGLEVEL', 'HADAL_LOG_LEVEL'],
    ['HADAL_LOG_LEVL', 'HADAL_LOG_LEVEL'],
    ['HADAL_LGO_LEVEL', 'HADAL_LOG_LEVEL'],
    ['HADAL_STATEFILE', 'HADAL_STATE_FILE'],
    ['hadal_network', 'HADAL_NETWORK'],
    ['HADAL_NODENAME', 'HADAL_NODE_NAME'],
    ['HADAL_WORKER', 'HADAL_WORKERS'],
    ['HADAL_POOL_MAX_STREAM', 'HADAL_POOL_MAX_STREAMS'],
  ])('%s is a mistake for %s', (name, meant) => {
    expect(problemsOf({ [name]: 'x' })).toEqual([`${name} is not an option; did you mean ${meant}?`]);
  });

  it('that resemble nothing are told, not refused', () => {
    expect(read({ HADAL_COLOUR: 'blue', PATH: '/bin' }).warnings).toEqual([
      'HADAL_COLOUR is not an option and has no effect',
    ]);
  });

  it('that Kubernetes or our own tools set are let be', () => {
    const environment = {
      HADAL_CONTROL_PLANE_SERVICE_HOST: '10.0.0.1',
      HADAL_CONTROL_PLANE_PORT: 'tcp://10.0.0.1:15012',
      HADAL_CONTROL_PLANE_PORT_15012_TCP_ADDR: '10.0.0.1',
      HADAL_SKIP_BUILD: '1',
      HADAL_BUILD_JOBS: '2',
    };
    expect(read(environment).warnings).toEqual([]);
  });

  it('of arguments are checked too', () => {
    expect(problemsOf({}, { worker: '1' })).toEqual(['worker is not an option; did you mean workers?']);
    expect(problemsOf({}, { workers: 'x' })[0]).toMatch(/^workers="x"/);
  });

  it('are all different and belong to Hadal', () => {
    const names = Object.values(agentOptions).map(({ env }) => env);
    expect(new Set(names).size).toBe(names.length);
    expect(names.every((name) => /^HADAL_[A-Z0-9_]+$/.test(name))).toBe(true);
  });

  it('that exist never count as misspelled', () => {
    const values = read().values as Record<string, unknown>;
    for (const [name, { env, default: given }] of Object.entries(agentOptions)) {
      const text = typeof given === 'string' ? given : String(values[name]);
      expect(problemsOf({ [env]: text })).toEqual([]);
    }
  });
});

describe('the documentation', () => {
  it('says of every option what it means, in a sentence', () => {
    for (const row of Object.values(agentOptions)) {
      expect(row.doc, row.env).toMatch(/^[`A-Z].*[.]$/);
      expect(typeof row.default === 'string' || 'defaultDoc' in row, row.env).toBe(true);
    }
  });

  it('of a running agent lists every option with its source', () => {
    const configuration = read({ HADAL_NETWORK: 'east' });
    const described = describeOptions(agentOptions, configuration);
    expect(described).toHaveLength(Object.keys(agentOptions).length);
    expect(described).toContainEqual({ env: 'HADAL_NETWORK', value: 'east', source: 'environment' });
  });
});

it.each([
  [1, 1],
  [2, 1],
  [3, 1],
  [4, 2],
  [8, 4],
  [64, 4],
])('%i cores get %i workers', (cores, workers) => {
  expect(defaultWorkers(cores)).toBe(workers);
});

it('either reads an environment or names a problem for it, whatever it holds', () => {
  const names = Object.values(agentOptions).map(({ env }) => env);
  fc.assert(
    fc.property(
      fc.dictionary(fc.constantFrom(...names), fc.string({ unit: 'binary-ascii' })),
      (environment) => {
        for (const problem of problemsOf(environment)) {
          expect(problem).toContain('HADAL_');
        }
      },
    ),
  );
});
