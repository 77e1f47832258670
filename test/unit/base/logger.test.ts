import { Writable } from 'node:stream';
import { expect, it } from 'vitest';
import { LogRoot, parseLogLevels } from '../../../src/base/logger.ts';

function memory(): { readonly stream: Writable; readonly lines: string[] } {
  const lines: string[] = [];
  const stream = new Writable({
    write(chunk, _, done) {
      lines.push(...String(chunk).trimEnd().split('\n'));
      done();
    },
  });
  return { stream, lines };
}

it('writes JSON with the scope and the fields', () => {
  const { stream, lines } = memory();
  const logs = new LogRoot({ destination: stream, fields: { node: 'n1' } });
  logs.scope('tunnel').info({ peer: '10.0.0.7' }, 'peer sent GOAWAY');
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({
    level: 'info',
    node: 'n1',
    scope: 'tunnel',
    peer: '10.0.0.7',
    msg: 'peer sent GOAWAY',
  });
});

it('changes the level of loggers that are in use', () => {
  const { stream, lines } = memory();
  const logs = new LogRoot({ destination: stream });
  const tunnel = logs.scope('tunnel');
  const kernel = logs.scope('kernel');
  tunnel.debug('unheard');
  logs.setLevel('debug', 'tunnel');
  tunnel.debug('heard');
  kernel.debug('unheard');
  logs.setLevel('trace');
  kernel.trace('heard too');
  tunnel.trace('unheard: its own level stays');
  logs.setLevel(undefined, 'tunnel');
  tunnel.trace('heard again');
  expect(lines.map((line) => (JSON.parse(line) as { msg: string }).msg)).toEqual([
    'heard',
    'heard too',
    'heard again',
  ]);
  expect(logs.levels()).toEqual({ level: 'trace', scopes: { kernel: 'trace', tunnel: 'trace' } });
});

it('writes a line for people with the error and without the noise', () => {
  const { stream, lines } = memory();
  const log = new LogRoot({ destination: stream, format: 'text' }).scope('agent');
  log.warn(
    { err: Object.assign(new Error('connect failed'), { code: 'ECONNREFUSED' }), pod: 'a b' },
    'not signed',
  );
  expect(lines[0]).toMatch(
    /^\d\d:\d\d:\d\d\.\d{3} warn {2}agent: not signed pod="a b" error="ERR_INTERNAL: connect failed; is the other side running\?"/,
  );
});

it('never writes a private key or a token', () => {
  const { stream, lines } = memory();
  new LogRoot({ destination: stream })
    .scope('identity')
    .info({ tls: { privateKey: 'SECRET' }, token: 'SECRET' }, 'renewed');
  expect(lines[0]).not.toContain('SECRET');
});

it('reads levels for all and for scopes, and names what is wrong', () => {
  expect(parseLogLevels('tunnel:debug,info')).toEqual([
    { level: 'debug', scope: 'tunnel' },
    { level: 'info' },
  ]);
  expect(() => parseLogLevels('tunnel:loud')).toThrow('log level "loud" is not one of trace, debug');
});
