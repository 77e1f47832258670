import { expect, it } from 'vitest';
import { Ending } from '../../../src/lab/ending.ts';

it('a lab is taken down to its end, last things first, also when a step fails; then it says which', async () => {
  const done: string[] = [];
  const ending = new Ending();
  ending.undo(() => void done.push('namespaces'));
  ending.undo(async () => {
    done.push('agents');
    throw new Error('the agent of a did not end');
  });
  ending.undo(() => void done.push('pods'));
  await expect(ending.run()).rejects.toMatchObject({
    code: 'ERR_LAB_END',
    message: expect.stringContaining('the agent of a did not end'),
  });
  expect(done).toEqual(['pods', 'agents', 'namespaces']);
  await expect(ending.run()).resolves.toBeUndefined();
});
