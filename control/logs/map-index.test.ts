/** Source maps of anybody: the same answers as the library, at bounded cost. */
import {
  encodedMappings,
  originalPositionFor,
  TraceMap,
  type SourceMapSegment,
} from '@jridgewell/trace-mapping';
import { describe, test } from 'vitest';
import { seededRandom } from '#shared/testing/fakes.ts';
import { MAP_BOUNDS, readMap, type MapIndex, type Position } from './map-index.ts';
import type { Slices } from './json-fields.ts';
import { turnsUntil } from '../testing/turns.ts';
import { inTurns } from './turns.ts';

/** At once; `pauses` counts the turns that others would have had. */
function finish<T>(slices: Slices<T>): { readonly value: T; readonly pauses: number } {
  for (let pauses = 0; ; pauses += 1) {
    const step = slices.next();
    if (step.done === true) return { value: step.value, pauses };
  }
}

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const indexOf = (text: string): MapIndex | undefined => finish(readMap(bytesOf(text))).value;

function mapOf(mappings: string, more: Readonly<Record<string, unknown>> = {}): string {
  return JSON.stringify({ version: 3, sources: ['a.ts'], names: [], mappings, ...more });
}

function theirs(map: TraceMap, line: number, column: number): Position | undefined {
  const found = originalPositionFor(map, { line: line + 1, column });
  return found.source === null ? undefined : { source: found.source, line: found.line, column: found.column };
}

function randomMappings(random: () => number, lines: number, segmentsMax: number): string {
  const below = (bound: number): number => Math.floor(random() * bound);
  const mappings = Array.from({ length: lines }, () => {
    let column = 0;
    return Array.from({ length: below(3) === 0 ? 0 : below(segmentsMax) }, (): SourceMapSegment => {
      // Sometimes nothing: two segments at one column.
      column += below(6);
      const kind = below(5);
      if (kind === 0) return [column];
      const place = [column, below(3), below(100_000), below(2_000)] as const;
      return kind === 1 ? [...place, below(5)] : [...place];
    });
  });
  return encodedMappings(new TraceMap({ version: 3, names: [], sources: [], mappings }));
}

describe('a source map', () => {
  test.for([
    ['short lines', 200, 12],
    ['one long line', 1, 6_000],
    ['lines of thousands', 12, 2_000],
    ['hardly anything', 3, 2],
  ] as const)('of %s leads where the library says', ([, lines, segmentsMax], { expect }) => {
    const random = seededRandom(lines);
    const sources = ['src/a.ts', '../b.ts', 'https://c.test/c.ts'];
    const text = mapOf(randomMappings(random, lines, segmentsMax), { sources, sourceRoot: 'lib/' });
    const [map, index] = [new TraceMap(text), indexOf(text)];
    for (let count = 0; count < 3_000; count += 1) {
      const line = Math.floor(random() * (lines + 1));
      const column = Math.floor(random() * segmentsMax * 3);
      expect([line, column, index?.lookUp(line, column)]).toEqual([line, column, theirs(map, line, column)]);
    }
  });

  test('is found among fields that nobody asked for, however they are written', ({ expect }) => {
    const fields = `"version":3,"x_odd":{"mappings":"no","a":[1,{"b":"]}\\\\"}],"c":"\\\\\\"\\"}"},"sourcesContent":["{\\"mappings\\":\\"no\\"}",null]`;
    for (const text of [
      `{${fields},"mappings":"AAKE","sources":["a.ts"]}`,
      `\uFEFF \n{ "mappings" : "AAKE" , ${fields} ,\t"sources" : [ "a.ts" ] } `,
    ])
      expect(indexOf(text)?.lookUp(0, 5)).toEqual({ source: 'a.ts', line: 6, column: 2 });
  });

  test.for([
    '',
    'no map',
    '[]',
    '{}',
    '{"mappings"',
    '{"mappings":"AAKE"}',
    '{"mappings":"AAKE","sources":[1]}',
    '{"mappings":"AAKE","sources":"a.ts"}',
    '{"mappings":7,"sources":["a.ts"]}',
    '{"mappings":["AAKE"],"sources":["a.ts"]}',
    mapOf('A!'),
    mapOf('AA'),
    mapOf('AAAAAA'),
    mapOf('gggggggggggg'),
    mapOf(String.raw`\n`),
    '{"mappings":"AAKE","sources":["a.ts"],"x":"',
    `{"mappings":"AAKE","sources":${'['.repeat(1_000_000)}`,
  ])('that is %j is none, and harms nobody', (text, { expect }) => {
    expect(indexOf(text)).toBeUndefined();
  });

  test('that leads to a source which it does not name leads nowhere', ({ expect }) => {
    expect(indexOf(mapOf('AEAA'))?.lookUp(0, 0)).toBeUndefined();
    expect(indexOf(mapOf('ADAA'))?.lookUp(0, 0)).toBeUndefined();
    expect(indexOf(mapOf('AAAA', { sources: [null] }))?.lookUp(0, 0)).toBeUndefined();
  });

  test.for([
    [';', 0],
    ['AAAA,', 2],
    [',', 1],
  ] as const)(
    'of 16 MiB of %j is used, takes no more than that, and lets others have their turn',
    async ([unit, places], { expect }) => {
      const mappings = unit.repeat(Math.floor((MAP_BOUNDS.mappings - 2) / unit.length)).slice(0, -1);
      const content = bytesOf(mapOf(`${mappings};AAKE`.slice(-(MAP_BOUNDS.mappings - 2))));
      const reading = new AbortController();
      const others = turnsUntil(reading.signal);
      const index = await inTurns(readMap(content));
      reading.abort();
      const turns = await others;
      expect(turns).toBeGreaterThan(60);
      expect(index?.bytes).toBeLessThan(1.1 * MAP_BOUNDS.mappings);
      // To read it all for each would take minutes.
      let found = 0;
      for (let count = 0; count < 20_000; count += 1)
        if (index?.lookUp(count, count) !== undefined) found += 1;
      expect(found).toBe(places);
    },
  );

  test('over its bounds is not used', ({ expect }) => {
    expect(indexOf(mapOf(';'.repeat(MAP_BOUNDS.mappings - 2)))).toBeDefined();
    expect(indexOf(mapOf(';'.repeat(MAP_BOUNDS.mappings - 1)))).toBeUndefined();
    const named = (bytes: number): string => mapOf('AAKE', { sources: ['s'.repeat(bytes - '[""]'.length)] });
    expect(indexOf(named(MAP_BOUNDS.sources))).toBeDefined();
    expect(indexOf(named(MAP_BOUNDS.sources + 1))).toBeUndefined();
  });

  test('of millions of lists in a field that nobody asked for is passed over in slices', ({ expect }) => {
    const { value, pauses } = finish(
      readMap(bytesOf(`{"x":[${'[],'.repeat(4_000_000)}[]],"mappings":"AAKE","sources":["a.ts"]}`)),
    );
    expect(value?.lookUp(0, 0)?.line).toBe(6);
    expect(pauses).toBeGreaterThan(40);
  });
});
