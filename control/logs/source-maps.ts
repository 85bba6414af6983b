/**
 * Stacks from bundles back to their sources.
 *
 * A frame ends in `MODULE:LINE:COLUMN`, in brackets or not; module names may hold spaces and brackets, so
 * a frame is read from its end. What cannot be mapped stays as it was.
 */
import { originalPositionFor, TraceMap } from '@jridgewell/trace-mapping';

/** Source map of a module by its name, or undefined. */
export type MapLookup = (moduleName: string) => Promise<Uint8Array | undefined>;

/** Frames of the platform's own modules, which mean nothing to the reader. */
const INNER_FRAME = /^\s*at .*(?:isoplane-internal:|workerd:isoplane-|isoplane\/[0-9a-f]{32}\/)/;
const FRAME = /^(\s*at (?:.*? \()?)(.+?):(\d+):(\d+)(\)?)$/;
const FRAMES_MAX = 100;

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

export function parseMap(content: Uint8Array): TraceMap | undefined {
  try {
    return new TraceMap(new TextDecoder().decode(content));
  } catch {
    // A damaged map costs readable positions, nothing else.
    return undefined;
  }
}

export function mapFrame(line: string, mapOf: (moduleName: string) => TraceMap | undefined): string {
  const match = FRAME.exec(line);
  if (match === null) return line;
  const [, before = '', location = '', lineNumber, column, after = ''] = match;
  const map = mapOf(moduleNameOf(location));
  if (map === undefined) return line;
  const original = originalPositionFor(map, {
    line: Math.max(1, Number(lineNumber)),
    // Stacks count columns from 1, source maps from 0.
    column: Math.max(0, Number(column) - 1),
  });
  if (original.source === null) return line;
  return `${before}${original.source}:${original.line}:${original.column + 1}${after}`;
}

function moduleOf(line: string): string | undefined {
  const location = FRAME.exec(line)?.[2];
  return location === undefined ? undefined : moduleNameOf(location);
}

export async function mapStackWith(
  stack: string,
  traceMapOf: (moduleName: string) => Promise<TraceMap | undefined>,
): Promise<string> {
  const lines = stack.split('\n').filter((line) => !INNER_FRAME.test(line));
  const maps = new Map<string, TraceMap | undefined>();
  for (const line of lines.slice(0, FRAMES_MAX)) {
    const name = moduleOf(line);
    if (name !== undefined && !maps.has(name)) maps.set(name, await traceMapOf(name));
  }
  return lines.map((line) => mapFrame(line, (name) => maps.get(name))).join('\n');
}

export function mapStack(stack: string, lookup: MapLookup): Promise<string> {
  return mapStackWith(stack, async (name) => {
    const content = await lookup(name);
    return content === undefined ? undefined : parseMap(content);
  });
}
