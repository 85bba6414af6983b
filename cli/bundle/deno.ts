/** Finds programs for Deno by what their own sources call: the runtime would only say that `Deno` is not defined. */
import type { Problem } from '../failure.ts';
import { denoProblem } from './advice.ts';

/** A program starts its server with one of these; libraries that merely look for Deno ask for its version or environment. */
const SERVES = /(?<![.\w])Deno\s*\.\s*(?:serve|serveHttp|listen|cron)\s*\(/;

/** @param map - the source map with its sources. */
export function denoCalls(map: string): Problem[] {
  const { sources, sourcesContent } = JSON.parse(map) as {
    sources: readonly string[];
    sourcesContent?: readonly (string | null)[];
  };
  return sources.flatMap((source, index) => {
    const text = sourcesContent?.[index] ?? '';
    if (source.includes('node_modules/') || /typeof\s+Deno|globalThis\.Deno/.test(text)) return [];
    const lines = withoutComments(text).split('\n');
    const line = lines.findIndex((code) => SERVES.test(code));
    if (line === -1) return [];
    const call =
      SERVES.exec(lines[line] ?? '')?.[0]
        .slice(0, -1)
        .trimEnd() ?? 'Deno.serve';
    return [{ at: `${source}:${line + 1}`, ...denoProblem([call]) }];
  });
}

/** Comments become blanks of the same lines, roughly: a string that looks like one hides a call at worst. */
function withoutComments(text: string): string {
  return text
    .replaceAll(/\/\*[\s\S]*?(?:\*\/|$)/g, (comment) => comment.replaceAll(/[^\n]/g, ' '))
    .replaceAll(/(^|[^:"'`])\/\/.*/gm, '$1');
}
