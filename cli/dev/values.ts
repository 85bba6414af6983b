/** Values of a project for this machine alone, from the files that wrangler reads too. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseEnv } from 'node:util';

/** Of an environment its own come first. The first that exists holds all values: they are not mixed. */
const filesFor = (environment: string | undefined): readonly string[] =>
  ['.dev.vars', '.env'].flatMap((name) => [
    ...(environment === undefined ? [] : [`${name}.${environment}`]),
    name,
  ]);

export type Values = Readonly<Record<string, string>>;

export async function readValues(root: string, environment?: string): Promise<Values> {
  for (const name of filesFor(environment)) {
    const text = await readFile(join(root, name), 'utf8').catch(() => undefined);
    if (text === undefined) continue;
    return Object.fromEntries(
      Object.entries(parseEnv(text)).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
    );
  }
  return {};
}
