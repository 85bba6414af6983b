/** CPU and memory of instances, from made-up samples. */
import { describe, test } from 'vitest';
import { versionIdSchema } from '#shared/ids.ts';
import { NodeUsage } from './node-usage.ts';

const first = versionIdSchema.parse('default/f@1');
const second = versionIdSchema.parse('default/f@2');

describe('NodeUsage', () => {
  test('counts CPU between samples and memory over life, once', ({ expect }) => {
    const usage = new NodeUsage();
    usage.started('a', first, 128, 0);
    usage.started('b', second, 64, 500);
    usage.sampled('a', 30);
    usage.sampled('a', 50);
    usage.sampled('b', 10);
    usage.ended('b', 1_500);
    expect([...usage.drain(1_000)]).toEqual([
      { account: 'default', function: 'f', amounts: { cpuMs: 50, memoryMbMs: 128_000 } },
      { account: 'default', function: 'f', amounts: { cpuMs: 10, memoryMbMs: 64_000 } },
    ]);
    usage.sampled('a', 55);
    usage.sampled('b', 1_000);
    expect([...usage.drain(1_100)]).toEqual([
      { account: 'default', function: 'f', amounts: { cpuMs: 5, memoryMbMs: 12_800 } },
    ]);
  });

  test('a sample that came late and time that stands still change nothing', ({ expect }) => {
    const usage = new NodeUsage();
    usage.started('a', first, 128, 100);
    usage.sampled('a', 20);
    usage.sampled('a', 10);
    usage.ended('unknown', 100);
    expect([...usage.drain(100)]).toMatchObject([{ amounts: { cpuMs: 20, memoryMbMs: 0 } }]);
    expect([...usage.drain(100)]).toEqual([]);
  });
});
