/** Hooks and tiers on a really running platform: deployed, called through the gateway, refused at publish. */
import { readFileSync } from 'node:fs';
import process from 'node:process';
import { afterAll, beforeAll, test } from 'vitest';
import { processTree } from '../support/proc.ts';
import { TestPlatform } from '../support/platform.ts';

const PUBLIC = { auth: { mode: 'public' } } as const;
let platform: TestPlatform;
beforeAll(async () => {
  platform = await TestPlatform.start();
});
afterAll(() => platform[Symbol.asyncDispose]());

const ready = (value: string): string =>
  `let ready = 'no'; export async function init(env) { ready = env.WORD + '${value}'; }
   export default { fetch() { return new Response(ready); } };`;

test('init has run before the first request, in each version', async ({ expect }) => {
  const config = { ...PUBLIC, vars: { WORD: 'set' }, hooks: { init: { timeoutMs: 2_000 } } };
  await platform.api.deploy('ready', { modules: { 'index.js': ready(' once') }, config });
  expect(await platform.call('ready')).toMatchObject({ status: 200, text: 'set once' });
  await platform.api.deploy('ready', { modules: { 'index.js': ready(' twice') }, config });
  expect(await platform.call('ready')).toMatchObject({ status: 200, text: 'set twice' });
});

test('a hook that is configured and not exported is refused at publish', async ({ expect }) => {
  const publish = platform.api.publish('hookless', {
    modules: { 'index.js': 'export default { fetch() { return new Response(); } };' },
    config: { ...PUBLIC, hooks: { preStop: { timeoutMs: 1_000 } } },
  });
  await expect(publish).rejects.toThrow(/no `preStop` function/);
});

test('an init that throws is told to the caller as a failed start', async ({ expect }) => {
  await platform.api.deploy('unready', {
    modules: {
      'index.js':
        'export function init() { throw new Error("secret detail"); } export default { fetch() { return new Response(); } };',
    },
    config: { ...PUBLIC, hooks: { init: { timeoutMs: 1_000 } } },
  });
  const answer = await platform.call('unready');
  expect(answer).toMatchObject({ status: 500, code: 'startup_failed' });
  expect(answer.text).not.toContain('secret detail');
});

test('a strict function answers, from a user of its own', async ({ expect, skip }) => {
  await platform.api.deploy('strict', {
    modules: { 'index.js': 'export default { fetch() { return new Response("strict"); } };' },
    config: { ...PUBLIC, tier: 'strict' },
  });
  expect(await platform.call('strict')).toMatchObject({ status: 200, text: 'strict' });
  const status = await platform.platform.nodeStatus();
  if (status.sandbox.level !== 'full' || process.getuid?.() !== 0)
    skip('SKIPPED, not proved here: own users need root and the full sandbox');
  const users = processTree(platform.platform.pids()['node'] ?? 0).flatMap(({ pid }) => {
    try {
      return [Number(/^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])];
    } catch {
      return []; // it has ended meanwhile
    }
  });
  expect(users.filter((uid) => uid >= 1_900_000_000).length).toBeGreaterThan(0);
});
