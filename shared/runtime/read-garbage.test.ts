import { describe, test } from 'vitest';
import { collector, type Collect } from './collector.node.ts';
import { ReadGarbage } from './read-garbage.node.ts';

const MIB = 1_048_576;

describe('what was read of bodies', () => {
  test('is collected after so many bytes, in pieces of any size', ({ expect }) => {
    const collected: Parameters<Collect>[0][] = [];
    const garbage = new ReadGarbage(() => (options) => collected.push(options));
    for (let read = 0; read < 64 * 256 - 1; read += 1) garbage.read(4_096);
    expect(collected.length).toBe(3);
    garbage.read(4_096);
    expect(collected.length).toBe(4);
    garbage.read(100 * MIB);
    expect(collected).toEqual(Array.from({ length: 5 }, () => ({ type: 'minor', execution: 'sync' })));
  });

  test('waits for the collector where there is none at the moment', ({ expect }) => {
    let asked = 0;
    const garbage = new ReadGarbage(() => {
      asked += 1;
      return undefined;
    });
    garbage.read(16 * MIB);
    garbage.read(1);
    garbage.read(16 * MIB);
    expect(asked).toBe(2);
  });

  test('outside the heap is freed by a young collection', ({ expect }) => {
    const collect = collector();
    expect(collect).toBeTypeOf('function');
    collect?.({ type: 'major', execution: 'sync' });
    const before = process.memoryUsage().arrayBuffers;
    for (let chunk = 0; chunk < 64; chunk += 1) new Uint8Array(65_536).fill(1);
    expect(process.memoryUsage().arrayBuffers - before).toBeGreaterThan(2 * MIB);
    collect?.({ type: 'minor', execution: 'sync' });
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(MIB);
  });
});
