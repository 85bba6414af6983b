/** Rewrites positions in the bundled main module to positions in the sources. */
import { originalPositionFor, TraceMap } from '@jridgewell/trace-mapping';

const STACK_LINES_MAX = 100;

/** @param map - source map of module `main`; positions elsewhere, and already mapped ones, stay as they are. */
export function mapStack(stack: string, main: string, map: Uint8Array): string {
  let trace: TraceMap;
  try {
    trace = new TraceMap(new TextDecoder().decode(map));
  } catch {
    return stack;
  }
  const escaped = main.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const place = new RegExp(
    `(?<before>^|[\\s(])(?:[a-z]+:\\/\\/\\/?(?:bundle\\/)?)?${escaped}:(?<line>\\d+):(?<column>\\d+)`,
    'g',
  );
  return stack
    .split('\n')
    .slice(0, STACK_LINES_MAX)
    .map((text) =>
      text.replaceAll(place, (whole, before: string, line: string, column: string) => {
        const found = originalPositionFor(trace, {
          line: Number(line),
          column: Math.max(0, Number(column) - 1),
        });
        return found.source === null ? whole : `${before}${found.source}:${found.line}:${found.column + 1}`;
      }),
    )
    .join('\n');
}
