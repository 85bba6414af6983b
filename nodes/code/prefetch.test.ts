/** Code is brought before it is called, a few versions at a time, and again after a failure. */
import { describe, test } from 'vitest';
import type { Runnable } from '#shared/contracts/feed.ts';
import { memoryLog, waitFor } from '#shared/testing/fakes.ts';
import { Prefetch } from './prefetch.ts';

const version = (id: string): Runnable => ({ id }) as unknown as Runnable;

describe('Prefetch', () => {
  test('fetches every version, at most four at a time', async ({ expect }) => {
    let running = 0;
    let most = 0;
    const prefetch = new Prefetch({
      prepare: async () => {
        running += 1;
        most = Math.max(most, running);
        await new Promise((resolve) => setImmediate(resolve));
        running -= 1;
      },
      log: memoryLog(),
    });
    for (let index = 0; index < 50; index += 1) prefetch.want(`v${index}`, version(`v${index}`));
    expect(prefetch.missing).toBe(50);
    await waitFor('all code', () => prefetch.missing === 0);
    expect(most).toBe(4);
  });

  test('keeps what failed and fetches it again when told; what is not wanted any more is forgotten', async ({
    expect,
  }) => {
    let fails = true;
    const asked: string[] = [];
    const prefetch = new Prefetch({
      prepare: ({ id }) => {
        asked.push(id);
        return fails ? Promise.reject(new Error('away')) : Promise.resolve();
      },
      log: memoryLog(),
    });
    prefetch.want('a', version('a'));
    prefetch.want('b', version('b'));
    await waitFor('both to fail', () => asked.length === 2);
    expect(prefetch.missing).toBe(2);
    prefetch.want('b', undefined);
    fails = false;
    prefetch.retry();
    await waitFor('the code', () => prefetch.missing === 0);
    expect(asked).toEqual(['a', 'b', 'a']);
  });
});
