/**
 * Every bound in the planes, and whose it is. A bound that accounts share without shares lets one of them have all
 * of it; so each new one must be put into its class here, and one of class `shared` names what divides it.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * - `one`: of one request, connection, instance, function, version or account.
 * - `time`, `text`: a duration, or a length that nothing accumulates against.
 * - `process`: of our own, whatever accounts do; the reason stands beside it.
 * - `shared NAME`: divided by that entry of shared/shared-things.ts.
 */
export type BoundClass = 'one' | 'time' | 'text' | `process: ${string}` | `shared ${string}`;

const BOUND =
  /^\s*(?:export )?(?:const|static readonly|readonly) (#?[A-Za-z_]*(?:MAX|_KEPT|AT_ONCE))\b|(new (?:LRUCache|Semaphore))\b|^\s+([a-z][A-Za-z]*Max): \d/gm;

/** `file NAME` of each bound that the source declares. Durations name their unit and are classed by it. */
export function boundsOf(file: string, source: string): string[] {
  return [...source.matchAll(BOUND)]
    .map(([, name, made, field]) => `${file} ${name ?? made ?? field ?? ''}`)
    .filter((bound) => !/(?:_(?:MS|S)_MAX|MsMax)$/.test(bound));
}

export async function readBounds(root: string, files: readonly string[]): Promise<string[]> {
  const found = new Set<string>();
  for (const file of files)
    if (
      /^(?:gateway|scheduler|nodes|control|shared)\//.test(file) &&
      !/\.test\.ts$|\.suite\.ts$|\.fixture\.ts$|\/testing\/|\/generated\/|\.worker\.ts$/.test(file)
    )
      for (const bound of boundsOf(file, await readFile(join(root, file), 'utf8'))) found.add(bound);
  return [...found].sort();
}
