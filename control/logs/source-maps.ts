/**
 * Stacks from bundles back to their sources.
 *
 * A frame ends in `MODULE:LINE:COLUMN`, in brackets or not; module names may hold spaces and brackets, so
 * a frame is read from its end. What cannot be mapped stays as it was.
 */
import type { MapIndex } from './map-index.ts';

/** Source map of a module by its name, or undefined. */
export type MapLookup = (moduleName: string) => Promise<MapIndex | undefined>;

/** Frames of the platform's own modules, which mean nothing to the reader. */
const INNER_FRAME = /^\s*at .*(?:isoplane-internal:|workerd:isoplane-|isoplane\/[0-9a-f]{32}\/)/;
const FRAME_BEGIN = /^\s*at /;
const NUMBER = /^\d{1,10}$/;
const FRAMES_MAX = 100;

interface Frame {
  /** Up to the location. */
  readonly before: string;
  readonly location: string;
  /** Both from 1, as stacks count. */
  readonly line: number;
  readonly column: number;
  readonly after: '' | ')';
}

/** `at NAME (LOCATION:LINE:COLUMN)`, or without name and brackets. Functions choose such lines: linear in each. */
function readFrame(text: string): Frame | undefined {
  const begin = FRAME_BEGIN.exec(text)?.[0];
  if (begin === undefined) return undefined;
  const after = text.endsWith(')') ? ')' : '';
  const end = text.length - after.length;
  const columnAt = text.lastIndexOf(':', end - 1);
  const lineAt = text.lastIndexOf(':', columnAt - 1);
  const line = text.slice(lineAt + 1, columnAt);
  const column = text.slice(columnAt + 1, end);
  if (columnAt <= lineAt || !NUMBER.test(line) || !NUMBER.test(column)) return undefined;
  const bracket = text.indexOf(' (', begin.length);
  const from = bracket >= 0 && bracket + 2 < lineAt ? bracket + 2 : begin.length;
  const location = text.slice(from, lineAt);
  if (location === '') return undefined;
  return { before: text.slice(0, from), location, line: Number(line), column: Number(column), after };
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

export async function mapFrame(text: string, mapOf: MapLookup): Promise<string> {
  const frame = readFrame(text);
  if (frame === undefined) return text;
  const map = await mapOf(moduleNameOf(frame.location));
  // Stacks count from 1, source maps from 0.
  const original = map?.lookUp(Math.max(0, frame.line - 1), Math.max(0, frame.column - 1));
  if (original === undefined) return text;
  return `${frame.before}${original.source}:${original.line}:${original.column + 1}${frame.after}`;
}

/** Frames beyond the first hundred stay as they are. */
export async function mapStack(stack: string, mapOf: MapLookup): Promise<string> {
  const maps = new Map<string, Promise<MapIndex | undefined>>();
  const once: MapLookup = (name) => {
    const known = maps.get(name) ?? mapOf(name);
    maps.set(name, known);
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
