/**
 * Goal: what the template writes, and every other compatibility date, bundles, deploys and answers, with Node's
 * modules where the date or the flag brings them, and errors that point into the sources. Method: one program at
 * each date, through the command.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { COMPATIBILITY_DATE } from '#cli/project/scaffold.ts';
import { LATEST_COMPATIBILITY_DATE } from '#shared/compatibility/flags.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { TestPlatform } from '../support/platform.ts';

/** The template's, an old one, one in between, and both sides of each date that changed what code can rely on. */
const DATES = [
  ...new Set([
    COMPATIBILITY_DATE,
    '2024-01-01',
    '2025-07-01',
    '2026-08-03',
    '2026-08-04',
    '2026-11-17',
    LATEST_COMPATIBILITY_DATE,
  ]),
];
const NODE_SINCE = '2026-08-04';
const FLAGS = [[], ['nodejs_compat']] as const;
const CASES = DATES.flatMap((date) =>
  FLAGS.map((flags) => ({ date, flags, named: flags.join() || 'no flag' })),
);

let platform: TestPlatform;
beforeAll(async () => {
  platform = await TestPlatform.start();
});
afterAll(() => platform?.[Symbol.asyncDispose]());

const source = (withNode: boolean): string => `${withNode ? "import { createHash } from 'node:crypto';" : ''}
${withNode ? "import { format } from 'util';" : ''}
interface Unused { readonly gone: string }
export default { async fetch(request: Request): Promise<Response> {
  if (request.url.endsWith('/throw')) throw new Error('thrown here');
  if (request.url.endsWith('/log')) console.error(new Error('logged here'));
  return new Response(${withNode ? "format('%s', createHash('sha256').update('a').digest('hex').slice(0, 4))" : "'plain'"});
} };
`;

describe('a program at each compatibility date', () => {
  test.for(CASES)('$date with $named', { timeout: 120_000 }, async ({ date, flags }, { expect }) => {
    await using folder = await tempFolder();
    const withNode = flags.length > 0 || date >= NODE_SINCE;
    const name = `d${date.replaceAll('-', '')}${flags.length > 0 ? 'n' : ''}`;
    await mkdir(join(folder.path, 'src'));
    await writeFile(join(folder.path, 'src/index.ts'), source(withNode));
    await writeFile(
      join(folder.path, 'isoplane.jsonc'),
      JSON.stringify({
        name,
        main: 'src/index.ts',
        compatibilityDate: date,
        compatibilityFlags: flags,
        auth: { mode: 'public' },
      }),
    );
    const deployed = await platform.cli(['deploy', '--json'], folder.path);
    expect(deployed, deployed.stderr).toMatchObject({ code: 0 });
    expect((await platform.call(name)).text).toBe(withNode ? 'ca97' : 'plain');
    expect((await platform.call(name, { path: '/throw' })).status).toBe(500);
    expect((await platform.call(name, { path: '/log' })).status).toBe(200);
    const lineWith = async (text: string): Promise<string | undefined> =>
      (await platform.cli(['logs', name, '--json'])).stdout.split('\n').find((line) => line.includes(text));
    await waitFor('both errors to be logged', async () =>
      [await lineWith('thrown here'), await lineWith('logged here')].every((line) => line !== undefined),
    );
    expect(await lineWith('thrown here')).toContain('src/index.ts:5:');
    expect(await lineWith('logged here')).toContain('src/index.ts:6:');
  });
});
