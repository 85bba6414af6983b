/**
 * The guides of docs/ that install packages, followed by a stranger with the packed package and the registry. Slow:
 * leave it out with ISOPLANE_SKIP_SLOW=1.
 */
import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { tempFolder, type TempFolder } from '#shared/testing/temp.node.ts';
import { follow, guide, nodeFolder, type Reader } from '../support/guide.ts';
import { packInto } from '../support/pack.ts';
import { UpProcess } from '../support/up.ts';

const run = promisify(execFile);
const SLOW_MS = 300_000;

let home: TempFolder;
let up: UpProcess;
let env: Record<string, string>;

/** Without the repository's tools, and without what `npm test` passes on to its children. */
async function strangersEnvironment(): Promise<Record<string, string>> {
  const dropped =
    /^(npm_(?!config_(registry|cache|cafile|strict_ssl|https?_proxy))|VITEST|NODE_(?!EXTRA_CA_CERTS)|ISOPLANE_|INIT_CWD)/i;
  const kept = Object.entries(process.env).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && !dropped.test(entry[0]),
  );
  const cache = (await run('npm', ['config', 'get', 'cache'])).stdout.trim();
  const path = (process.env['PATH'] ?? '')
    .split(delimiter)
    .filter((folder) => !folder.includes('node_modules'));
  return {
    ...Object.fromEntries(kept),
    HOME: home.path,
    PATH: [await nodeFolder(home.path), ...path].join(delimiter),
    npm_config_cache: cache,
    ASTRO_TELEMETRY_DISABLED: '1',
    NO_COLOR: '1',
  };
}

const readerIn = async (name: string): Promise<Reader> => {
  const folder = join(home.path, 'work', name);
  await mkdir(folder);
  return { folder, env, gatewayUrl: up.gatewayUrl };
};

describe.skipIf(process.env['ISOPLANE_SKIP_SLOW'] === '1')('a stranger who follows', () => {
  beforeAll(async () => {
    home = await tempFolder();
    env = await strangersEnvironment();
    const [clone, work] = ['isoplane', 'work'].map((name) => join(home.path, name)) as [string, string];
    await mkdir(clone);
    await packInto(clone);
    up = await UpProcess.start(join(work, '.isoplane'));
    // As docs/install.md says.
    const install =
      'npm init --yes && npm install --prefer-offline --no-audit --no-fund --save-dev ~/isoplane/isoplane-*.tgz';
    await run('bash', ['--norc', '-euc', install], { cwd: work, env, timeout: SLOW_MS });
  }, SLOW_MS);
  afterAll(async () => {
    await up?.[Symbol.asyncDispose]();
    await home?.[Symbol.asyncDispose]();
  });

  test('the guide to webhooks has types, tests and a receiver', { timeout: SLOW_MS }, async ({ expect }) => {
    const said = await follow(await guide('guide-webhooks'), await readerIn('hooks'));
    expect(said).toHaveLength(4);
    expect(said[0]).toContain('wrote isoplane-env.d.ts');
    expect(said[1]).toMatch(/Tests +2 passed/);
    expect(said[2]).toContain('receiver version 1 is live');
    expect(said[3]).toMatch(/^\{"added":true\}\{"added":false\}wrong signature\n\["evt-1"\]$/);
  });

  test(
    'the guide to sites has an Astro and a React Router site',
    { timeout: SLOW_MS },
    async ({ expect }) => {
      const said = await follow(await guide('guide-site'), await readerIn('sites'));
      expect(said).toHaveLength(7);
      expect(said[1]).toContain('site version 1 is live');
      expect(said[1]).toContain('<h1>Words</h1>');
      expect(said[1]).toContain('{"words":7}');
      expect(said[1]).toContain('There is no such page.');
      expect(said[2]).toContain('is beta  http://beta--site.localhost');
      expect(said[2]).toContain('\n200\n');
      expect(said[4]).toContain('clock version 1 is live');
      expect(said[4]).toContain('Hello, curl.');
      expect(said[6]).toContain('shop version 1 is live');
      expect(said[6]).toContain('There are 7 words.');
    },
  );
});
