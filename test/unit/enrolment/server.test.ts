import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HadalError } from '../../../src/base/errors.ts';
import type { Closeable } from '../../../src/base/lifecycle.ts';
import { silentLogger } from '../../../src/base/logger.ts';
import type { AddRequest, RemoveRequest } from '../../../src/enrolment/request.ts';
import { type EnrolmentService, serveEnrolment } from '../../../src/enrolment/server.ts';

let directory: string;
let server: Closeable;
let added: AddRequest[];
let removed: RemoveRequest[];

const service: EnrolmentService = {
  enrol: async (asked) => {
    if (asked.name === 'fails') throw new HadalError('ERR_NETNS', 'the namespace is gone');
    added.push(asked);
    return { uid: asked.uid, podIndex: 7 };
  },
  remove: async (asked) => {
    removed.push(asked);
    return { removed: true };
  },
  list: () => added.map(({ uid }) => ({ uid })),
};

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'hadal-cni-'));
  added = [];
  removed = [];
  server = await serveEnrolment({ socketPath: socketPath(), service, logger: silentLogger });
});

afterEach(async () => {
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

const socketPath = () => join(directory, 'run', 'cni.sock');

function call(
  method: string,
  path: string,
  body?: string,
): Promise<{ status: number | undefined; body: unknown }> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath: socketPath(), method, path }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () =>
        resolve({ status: response.statusCode, body: JSON.parse(Buffer.concat(chunks).toString()) }),
      );
    });
    asked.on('error', reject);
    asked.end(body);
  });
}

const pod = {
  Netns: '/run/netns/front',
  PodName: 'front',
  PodNamespace: 'shop',
  PodUID: 'u1',
  ServiceAccount: 'default',
};

describe('the enrolment socket', () => {
  it('is open to root alone', () => {
    expect(statSync(socketPath()).mode & 0o777).toBe(0o600);
  });

  it('answers /cmdadd, /cmddel and /pods', async () => {
    expect(await call('POST', '/cmdadd', JSON.stringify(pod))).toEqual({
      status: 200,
      body: { uid: 'u1', podIndex: 7 },
    });
    expect(await call('GET', '/pods')).toEqual({ status: 200, body: { pods: [{ uid: 'u1' }] } });
    expect(await call('POST', '/cmddel', JSON.stringify({ PodUID: 'u1', Reason: 'left' }))).toMatchObject({
      status: 200,
    });
    expect(removed).toEqual([{ uid: 'u1', name: '', namespace: '', reason: 'left' }]);
  });

  it.each([
    ['POST', '/cmdadd', JSON.stringify({ ...pod, PodName: 'No' }), 400, 'field PodName is "No"'],
    ['POST', '/cmdadd', '{"Netns":', 400, 'the body is not JSON'],
    [
      'POST',
      '/cmdadd',
      JSON.stringify({ ...pod, Cgroup: `/${'x'.repeat(70_000)}` }),
      400,
      'larger than 65536 bytes',
    ],
    ['POST', '/cmdadd', JSON.stringify({ ...pod, PodName: 'fails' }), 500, 'the namespace is gone'],
    ['GET', '/cmdadd', undefined, 405, '/cmdadd takes POST'],
    ['POST', '/elsewhere', '{}', 404, '/elsewhere is unknown'],
  ])('answers %s %s with what is wrong', async (method, path, body, status, message) => {
    const answer = await call(method, path, body);
    expect(answer.status).toBe(status);
    expect(answer.body).toMatchObject({ error: expect.stringContaining(message) });
    expect(added).toEqual([]);
  });

  it('takes the place of a socket that a killed agent left', async () => {
    await server.close();
    server = await serveEnrolment({ socketPath: socketPath(), service, logger: silentLogger });
    expect(await call('GET', '/pods')).toMatchObject({ status: 200 });
  });
});
