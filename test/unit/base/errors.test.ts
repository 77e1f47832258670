import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { expect, it } from 'vitest';
import { HadalError } from '../../../src/base/errors.ts';

function caught(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

it('passes a HadalError unchanged when nothing is added', () => {
  const error = new HadalError('ERR_STATE_FILE', 'line 3: bad');
  expect(HadalError.from(error)).toBe(error);
});

it('adds what was being done and keeps the code, the details and the cause', () => {
  const error = new HadalError('ERR_STATE_FILE', 'line 3: bad', { details: { line: 3 } });
  const wrapped = HadalError.from(error, 'ERR_INTERNAL', 'reading mesh.yaml');
  expect(wrapped).toMatchObject({
    code: 'ERR_STATE_FILE',
    message: 'reading mesh.yaml: line 3: bad',
    details: { line: 3 },
    cause: error,
  });
});

it('names the errno of a failed system call and the next step', () => {
  const error = HadalError.from(
    caught(() => readFileSync('/proc/1/mem-does-not-exist')),
    'ERR_STATE_FILE',
    'reading state',
  );
  expect(error).toMatchObject({ code: 'ERR_STATE_FILE', systemCode: 'ENOENT' });
  expect(error.details).toMatchObject({ syscall: 'open', path: '/proc/1/mem-does-not-exist' });
});

it('says what to do about a refused connection on a real socket', async () => {
  const refused = await new Promise((resolve) => connect(1, '127.0.0.1').on('error', resolve));
  const error = HadalError.from(refused, 'ERR_AUTHORITY', 'calling the authority');
  expect(error.systemCode).toBe('ECONNREFUSED');
  expect(error.message).toBe(
    'calling the authority: connect ECONNREFUSED 127.0.0.1:1; is the other side running?',
  );
});

it('keeps the code of the addon and translates its errno number', () => {
  const native = Object.assign(new Error('load sk_lookup: refused'), {
    code: 'ERR_BPF_LOAD',
    errno: 1,
    verifierLog: 'R1 type=inv',
  });
  expect(HadalError.from(native, 'ERR_AGENT')).toMatchObject({
    code: 'ERR_BPF_LOAD',
    systemCode: 'EPERM',
    details: { verifierLog: 'R1 type=inv' },
  });
});

it("does not take Node's own codes for ours", () => {
  const error = caught(() => Buffer.alloc(-1));
  expect((error as { code: string }).code).toMatch(/^ERR_/);
  expect(HadalError.from(error, 'ERR_AGENT').code).toBe('ERR_AGENT');
});

it('accepts anything that was thrown', () => {
  expect(HadalError.from('plain text').message).toBe('plain text');
  expect(HadalError.from(undefined)).toMatchObject({ code: 'ERR_INTERNAL', message: 'undefined' });
});

it('prints itself and its causes without stacks', () => {
  const error = new HadalError('ERR_A', 'outer', {
    cause: new HadalError('ERR_B', 'inner', { systemCode: 'EIO' }),
  });
  expect(JSON.parse(JSON.stringify(error))).toEqual({
    code: 'ERR_A',
    message: 'outer',
    systemCode: 'EIO',
    cause: { code: 'ERR_B', message: 'inner', systemCode: 'EIO' },
  });
});
