/** When a process at rest gives memory back: decided from measures; and a real process that does. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { IDLE_MEMORY, restOf, type Look, type Rest } from './idle-memory.ts';

const MIB = 1_048_576;
const busy = (residentBytes: number): Look => ({ busyRatio: 0.5, residentBytes });
const still = (residentBytes: number): Look => ({ busyRatio: 0.01, residentBytes });

function looks(...seen: readonly Look[]): boolean[] {
  let rest: Rest = { looks: 0, floorBytes: 100 * MIB };
  return seen.map((look) => {
    const next = restOf(rest, look);
    ({ rest } = next);
    return next.collect;
  });
}

function expectLooks(seen: readonly Look[], collects: readonly (0 | 1)[]): void {
  expect(looks(...seen).map(Number)).toEqual(collects);
}

describe('restOf()', () => {
  test('collects once when the process has come to rest, and again after the next work', () => {
    const grown = 300 * MIB;
    expectLooks([busy(grown), still(grown), still(grown), still(grown), still(grown)], [0, 0, 1, 0, 0]);
    expectLooks([still(grown), busy(grown), still(grown), still(grown)], [0, 0, 0, 1]);
  });

  test('leaves a process alone that is never at rest, or has taken next to nothing', () => {
    expectLooks([busy(300 * MIB), still(300 * MIB), busy(300 * MIB), still(300 * MIB)], [0, 0, 0, 0]);
    const least = 100 * MIB + IDLE_MEMORY.grownBytesMin;
    expectLooks([still(least - 1), still(least - 1), still(least - 1)], [0, 0, 0]);
    expectLooks([still(least), still(least)], [0, 1]);
  });
});

describe('giveMemoryBack()', () => {
  test('lets a process that is at rest shrink by most of its garbage', async () => {
    const child = fork(fileURLToPath(new URL('../testing/forgetful.main.ts', import.meta.url)), {
      execArgv: ['--disable-warning=ExperimentalWarning'],
    });
    try {
      for (;;) {
        const [{ startBytes, fullBytes, nowBytes }] = (await once(child, 'message')) as [
          { startBytes: number; fullBytes: number; nowBytes: number },
        ];
        expect(fullBytes - startBytes).toBeGreaterThan(50 * MIB);
        if (nowBytes - startBytes < (fullBytes - startBytes) / 2) break;
      }
    } finally {
      child.kill('SIGKILL');
    }
  });
});
