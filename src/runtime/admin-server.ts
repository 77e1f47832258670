/** The admin server: on loopback (and a unix socket, which is reachable from other network namespaces of the machine) only. */
import { HadalError } from '../base/errors.ts';
import { type Logger, type LogRoot, parseLogLevels } from '../base/logger.ts';
import type { Explanation } from '../routing/explain.ts';
import { type ConnectionState, connectionStates } from '../telemetry/connection-entry.ts';
import type { ConnectionList, ConnectionQuery } from '../telemetry/flow-log.ts';
import type { ConfigDump } from './config-dump.ts';
import {
  type HttpAnswer,
  type HttpListener,
  type HttpRequest,
  json,
  plain,
  type Route,
  startHttpServer,
} from './http-server.ts';
import { cpuProfile, heapSnapshot, profileSeconds } from './profiler.ts';

export interface AdminServerOptions {
  /** Name of this node, in answers that tools put side by side; '' where it is no agent. */
  readonly node: string;
  /** 15000; 0 takes a free one. */
  readonly port: number;
  /** Besides the port: `<runtime directory>/admin.sock`, which the command line looks for. */
  readonly socketPath?: string;
  readonly configDump: ConfigDump;
  readonly logs: LogRoot;
  /** Absent where no connections pass through. */
  readonly connections?: (query: ConnectionQuery) => Promise<ConnectionList>;
  /** `GET /explain`: would this connection be allowed, by what is in force here. */
  readonly explain?: (source: string, destination: string) => Explanation;
  /** `GET /status`: what `hadal status` shows. */
  readonly status: () => object | Promise<object>;
  /** Levels when the agent started, for `POST /logging?reset`. */
  readonly initialLevels?: string;
  /** `POST /quitquitquit`. */
  readonly quit?: () => void;
  readonly logger: Logger;
}

/** What `GET /connections` answers. */
export interface NodeConnections extends ConnectionList {
  readonly node: string;
}

export function startAdminServer(options: AdminServerOptions): Promise<HttpListener> {
  const { port, socketPath, logger } = options;
  return startHttpServer({
    name: 'the admin server',
    routes: routesOf(options),
    listen: [{ host: '127.0.0.1', port }, ...(socketPath === undefined ? [] : [{ socketPath }])],
    loopbackHostOnly: true,
    maxConnections: 32,
    logger,
  });
}

function routesOf(options: AdminServerOptions): Route[] {
  const routes: Route[] = [
    { method: 'GET', path: '/', handle: () => plain(200, index(routes)) },
    { method: 'GET', path: '/config_dump', handle: (request) => configDump(options.configDump, request) },
    { method: 'GET', path: '/status', handle: async () => json(await options.status()) },
    { method: 'GET', path: '/logging', handle: () => json(options.logs.levels()) },
    { method: 'POST', path: '/logging', handle: (request) => setLevels(options, request) },
    ...['/debug/profile', '/debug/pprof/profile'].map(
      (path): Route => ({ method: 'GET', path, handle: (request) => profile(request) }),
    ),
    ...['/debug/heap', '/debug/pprof/heap'].map(
      // Private keys may stand in it.
      (path): Route => ({ method: 'GET', path, socketOnly: true, handle: () => heap() }),
    ),
    { method: 'GET', path: '/debug/memory', handle: () => json(process.memoryUsage()) },
  ];
  const { quit, explain, connections: read } = options;
  if (read !== undefined) {
    const handle: Route['handle'] = (request) => connections(options.node, read, request);
    routes.splice(2, 0, { method: 'GET', path: '/connections', handle });
  }
  if (explain !== undefined) {
    routes.push({ method: 'GET', path: '/explain', handle: (request) => explained(explain, request) });
  }
  if (quit !== undefined) {
    routes.push({
      method: 'POST',
      path: '/quitquitquit',
      handle: () => {
        setImmediate(quit);
        return plain(200, 'shutting down\n');
      },
    });
  }
  return routes;
}

const descriptions: Readonly<Record<string, string>> = {
  '/config_dump': 'what this program knows and does, as JSON; ?section=a,b for parts of it',
  '/connections':
    'live and just ended connections; ?after=CURSOR, ?limit=N, ?state=live,closed,refused, ?pod=NAMESPACE/NAME',
  '/explain': 'who may connect: ?source=NAMESPACE/NAME&destination=ADDRESS:PORT',
  '/status': 'a short report',
  '/logging': 'levels; POST ?level=debug, ?level=tunnel:debug,info or ?reset changes them',
  '/debug/profile': 'a CPU profile of the JavaScript thread; ?seconds=1..60',
  '/debug/heap': 'a heap snapshot, on the unix socket alone; stops the JavaScript thread for a moment',
  '/debug/memory': 'memory in use',
  '/quitquitquit': 'drains and ends the program',
};

function index(routes: readonly Route[]): string {
  const lines = routes
    .filter(({ path }) => descriptions[path] !== undefined)
    .map(({ method, path }) => `${method.padEnd(4)} ${path.padEnd(16)} ${descriptions[path]}`);
  return `${lines.join('\n')}\n`;
}

async function configDump(dump: ConfigDump, { query }: HttpRequest): Promise<HttpAnswer> {
  const only = query.get('section')?.split(',');
  const unknown = only?.filter((name) => !dump.names.includes(name)) ?? [];
  if (unknown.length > 0) throw wrong(`section ${unknown.join(', ')} is not one of ${dump.names.join(', ')}`);
  return json(await dump.read(only));
}

async function connections(
  node: string,
  read: NonNullable<AdminServerOptions['connections']>,
  { query }: HttpRequest,
): Promise<HttpAnswer> {
  const states = query.get('state')?.split(',');
  const unknown = states?.filter((state) => !(connectionStates as readonly string[]).includes(state)) ?? [];
  if (unknown.length > 0)
    throw wrong(`state ${unknown.join(', ')} is not one of ${connectionStates.join(', ')}`);
  const limit = query.has('limit') ? wholeNumber('limit', query.get('limit') ?? '', 0, 1_000_000) : undefined;
  const list = await read({
    after: query.get('after') ?? undefined,
    limit,
    states: states as ConnectionState[] | undefined,
    pod: query.get('pod') ?? undefined,
  });
  return json({ node, ...list } satisfies NodeConnections);
}

function explained(explain: NonNullable<AdminServerOptions['explain']>, { query }: HttpRequest): HttpAnswer {
  const [source, destination] = [query.get('source'), query.get('destination')];
  if (source === null || destination === null) throw wrong('both source= and destination= are needed');
  return json(explain(source, destination));
}

function setLevels(
  { logs, initialLevels = 'info', logger }: AdminServerOptions,
  { query }: HttpRequest,
): HttpAnswer {
  const text = query.get('level') ?? (query.has('reset') ? initialLevels : undefined);
  if (text === undefined) return json(logs.levels());
  let levels: ReturnType<typeof parseLogLevels>;
  try {
    levels = parseLogLevels(text);
  } catch (error) {
    throw wrong(error instanceof Error ? error.message : String(error));
  }
  if (query.has('reset'))
    for (const scope of Object.keys(logs.levels().scopes)) logs.setLevel(undefined, scope);
  for (const { level, scope } of levels) logs.setLevel(level, scope);
  logger.info({ levels: text }, 'log levels changed');
  return json(logs.levels());
}

async function profile({ query, signal }: HttpRequest): Promise<HttpAnswer> {
  const { min, max, default: usual } = profileSeconds;
  const seconds = wholeNumber('seconds', query.get('seconds') ?? String(usual), min, max);
  return download('hadal.cpuprofile', await cpuProfile(seconds, signal));
}

function heap(): HttpAnswer {
  return download('hadal.heapsnapshot', heapSnapshot());
}

function download(fileName: string, body: HttpAnswer['body']): HttpAnswer {
  return {
    contentType: 'application/json',
    body,
    headers: { 'content-disposition': `attachment; filename="${fileName}"` },
  };
}

function wholeNumber(name: string, text: string, min: number, max: number): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max))
    throw wrong(`${name}=${JSON.stringify(text)} is not a whole number from ${min} to ${max}`);
  return value;
}

function wrong(why: string): HadalError<'ERR_REQUEST'> {
  return new HadalError('ERR_REQUEST', why);
}
