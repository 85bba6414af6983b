/**
 * Stacks from bundles back to their sources.
 *
 * A position is `MODULE:LINE:COLUMN`. It is a frame's end, as in `at async main.js:1:2`, or stands in brackets:
 * `at new A (main.js:1:2)`, `at eval (eval at f (main.js:1:2), <anonymous>:1:1)`. Names of functions and of modules
 * may hold spaces and brackets, so where a module's name begins is known by there being a map for it. What cannot be
 * mapped stays as it was (`<anonymous>`, `native`, `index 0` of `Promise.all`).
 */
import type { MapIndex } from './map-index.ts';

/** Source map of a module by its name, or undefined. */
export type MapLookup = (moduleName: string) => Promise<MapIndex | undefined>;

/** Frames of the platform's own modules, which mean nothing to the reader. */
const INNER_FRAME = /^\s*at .*(?:isoplane-internal:|workerd:isoplane-|isoplane\/[0-9a-f]{32}\/)/;
const FRAME_BEGIN = /^\s*at (?:async )?/;
const ASYNC = 'async ';
const POSITION = /:(\d{1,10}):(\d{1,10})(?=\)|$)/g;
const FRAMES_MAX = 100;
/** Positions of a frame that are looked at, and places before each at which its name may begin: those nearest to its end. */
const POSITIONS_MAX = 4;
const BEGINS_MAX = 6;
/** Longer text, encoded as a URL, is no module's name. */
const NAME_LENGTH_MAX = 2_048;
/** Names that are looked up for a stack: functions choose what it says. */
const NAMES_MAX = 200;

interface Position {
  /** Where its module's name may begin, as indexes of the frame. */
  readonly begins: readonly number[];
  /** Index of the colon after the name. */
  readonly nameEnd: number;
  /** Both from 0, as source maps count. */
  readonly line: number;
  readonly column: number;
  readonly end: number;
}

/** Functions choose such lines: linear in each. */
function positionsIn(frame: string): readonly Position[] {
  const [start] = FRAME_BEGIN.exec(frame) ?? [];
  if (start === undefined) return [];
  return [...frame.matchAll(POSITION)].slice(-POSITIONS_MAX).map((match) => {
    const end = match.index + match[0].length;
    const begins =
      end < frame.length
        ? bracketsBefore(frame, match.index)
        : // A module may be named `async x.js`.
          [...(start.endsWith(ASYNC) ? [start.length - ASYNC.length] : []), start.length];
    return {
      begins: begins.filter((begin) => begin < match.index && match.index - begin <= NAME_LENGTH_MAX),
      nameEnd: match.index,
      line: Math.max(0, Number(match[1]) - 1),
      column: Math.max(0, Number(match[2]) - 1),
      end,
    };
  });
}

function bracketsBefore(frame: string, end: number): readonly number[] {
  const begins: number[] = [];
  for (let at = frame.lastIndexOf('(', end); at >= 0; at = at === 0 ? -1 : frame.lastIndexOf('(', at - 1)) {
    begins.unshift(at + 1);
    if (begins.length === BEGINS_MAX) break;
  }
  return begins;
}

/** The newer module registry (compatibility date 2026-11-17) shows `file:///bundle/NAME`, encoded as a URL. */
function moduleNameOf(location: string): string {
  if (!location.startsWith('file:///')) return location;
  const path = location.slice('file:///'.length).replace(/^bundle\//, '');
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

export async function mapFrame(frame: string, mapOf: MapLookup): Promise<string> {
  let mapped = '';
  let taken = 0;
  for (const { begins, nameEnd, line, column, end } of positionsIn(frame)) {
    for (const begin of begins) {
      const map = begin < taken ? undefined : await mapOf(moduleNameOf(frame.slice(begin, nameEnd)));
      const original = map?.lookUp(line, column);
      if (original === undefined) continue;
      mapped += `${frame.slice(taken, begin)}${original.source}:${original.line}:${original.column + 1}`;
      taken = end;
      break;
    }
  }
  return mapped + frame.slice(taken);
}

/** Frames beyond the first hundred stay as they are. */
export async function mapStack(stack: string, mapOf: MapLookup): Promise<string> {
  const maps = new Map<string, Promise<MapIndex | undefined>>();
  const once: MapLookup = (name) => {
    const known = maps.get(name) ?? (maps.size < NAMES_MAX ? mapOf(name) : NOTHING);
    if (known !== NOTHING) maps.set(name, known);
    return known;
  };
  const mapped: string[] = [];
  let frames = 0;
  for (const line of stack.split('\n')) {
    if (INNER_FRAME.test(line)) continue;
    const isFrame = frames < FRAMES_MAX && FRAME_BEGIN.test(line);
    mapped.push(isFrame ? await mapFrame(line, once) : line);
    if (isFrame) frames += 1;
  }
  return mapped.join('\n');
}

const NOTHING: Promise<undefined> = Promise.resolve(undefined);
