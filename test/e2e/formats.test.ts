/**
 * Goal: programs of every format that wrangler takes are deployed and developed by the command as they are. Method:
 * projects on the disk, `isoplane deploy` to a running platform and `isoplane dev`, and calls through the gateway.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { tempProject } from '#cli/testing/temp-project.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { DevProcess } from '../support/dev.ts';
import { TestPlatform } from '../support/platform.ts';

let platform: TestPlatform;
beforeAll(async () => {
  platform = await TestPlatform.start();
});
afterAll(() => platform?.[Symbol.asyncDispose]());

const WASM = Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);

const SCRIPT = {
  'wrangler.toml': `name = "script"
main = "src/index.ts"
compatibility_date = "2026-11-01"
[vars]
GREETING = "hello"
[[kv_namespaces]]
binding = "STORE"
id = "script-store"
`,
  'src/index.ts': `import wasm from './add.wasm';
import text from './words.txt';
import { createHash } from 'node:crypto';
import { path } from './path';
declare const GREETING: string;
addEventListener('fetch', (event: any) => event.respondWith(handle(event.request)));
async function handle(request: Request): Promise<Response> {
  if (path(request) === '/throw') throw new RangeError('thrown in the script');
  await STORE.put('key', 'kept');
  const digest = createHash('sha256').update('a').digest('hex').slice(0, 8);
  return Response.json([GREETING, await STORE.get('key'), text, wasm instanceof WebAssembly.Module, digest]);
}`,
  'src/path.ts': `export const path = (request: Request): string => new URL(request.url).pathname;`,
  'src/words.txt': 'words',
  'src/add.wasm': WASM,
} as const;

const deploy = (...words: readonly string[]): ReturnType<TestPlatform['cli']> =>
  platform.cli(['deploy', ...words, '--json']);

describe('a script of the service-worker format', () => {
  test('is deployed as it is, and its stacks are mapped', async ({ expect }) => {
    await using folder = await tempProject(SCRIPT);
    await platform.cli(['kv', 'create', 'script-store']);
    const result = await deploy(folder.path, '--auth', 'public');
    expect(result.stderr).not.toContain('rror');
    expect(result.code).toBe(0);
    const answer = await platform.call('script');
    expect(JSON.parse(answer.text)).toEqual(['hello', 'kept', 'words', true, 'ca978112']);
    expect(await platform.call('script', { path: '/throw' })).toMatchObject({
      status: 500,
      code: 'function_error',
    });
    const { stdout } = await platform.cli(['logs', 'script', '--tail', '100']);
    expect(stdout).toContain('thrown in the script');
    expect(stdout).toContain('src/index.ts:8');
  });

  test('is uploaded unbundled, too', async ({ expect }) => {
    await using folder = await tempProject({
      'wrangler.json': JSON.stringify({
        name: 'script-raw',
        main: 'worker.js',
        compatibility_date: '2023-05-18',
        no_bundle: true,
      }),
      'worker.js': `undeclared = 'sloppy'; addEventListener('fetch', (event) => event.respondWith(new Response(undeclared)));`,
    });
    expect((await deploy(folder.path, '--auth', 'public')).code).toBe(0);
    expect(await platform.call('script-raw')).toMatchObject({ status: 200, text: 'sloppy' });
  });

  test('with listeners that nothing calls is warned of, and refused when there are no others', async ({
    expect,
  }) => {
    const script = (code: string) => ({
      'wrangler.toml': 'name = "cron"\nmain = "index.js"\ncompatibility_date = "2026-11-01"\n',
      'index.js': code,
    });
    const cron = `addEventListener('scheduled', () => undefined);`;
    await using both = await tempProject(
      script(`${cron} addEventListener('fetch', (event) => event.respondWith(new Response('x')));`),
    );
    const warned = await deploy(both.path);
    expect(warned.code).toBe(0);
    expect(warned.stdout + warned.stderr).toContain('`scheduled`');
    await using alone = await tempProject(script(cron));
    const refused = await deploy(alone.path);
    expect(refused.code).toBe(1);
    expect(refused.stdout + refused.stderr).toContain('listens to `scheduled` alone');
  });

  test('is served by dev, and again after each save', async ({ expect }) => {
    await using folder = await tempProject({
      ...SCRIPT,
      'isoplane.jsonc': JSON.stringify({ auth: { mode: 'public' } }),
    });
    await using dev = await DevProcess.start(folder.path);
    expect(await (await dev.fetch('/')).json()).toEqual(['hello', 'kept', 'words', true, 'ca978112']);
    await writeFile(join(folder.path, 'src/words.txt'), 'other words');
    await waitFor('the save', async () => (await (await dev.fetch('/')).text()).includes('other words'));
    expect(await (await dev.fetch('/')).json()).toEqual(['hello', 'kept', 'other words', true, 'ca978112']);
  });
});

test('a class of RPC methods alone is deployed, called, and answers fetch as the runtime does', async ({
  expect,
}) => {
  await platform.api.deploy('adder', {
    modules: {
      'index.js': `import { WorkerEntrypoint } from 'cloudflare:workers';
        export default class extends WorkerEntrypoint { add(a, b) { return a + b; } }
        export class Named extends WorkerEntrypoint { twice(n) { return 2 * n; } }`,
    },
    config: { auth: { mode: 'public' } },
  });
  await platform.api.deploy('asks-adder', {
    modules: {
      'index.js': `export default { async fetch(request, env) {
          const failed = await env.ADDER.fetch(request).then(() => 'answered', ({ code }) => code);
          return Response.json([await env.ADDER.add(1, 2), await env.NAMED.twice(4), failed]);
        } };`,
    },
    config: {
      auth: { mode: 'public' },
      services: [
        { binding: 'ADDER', function: 'adder' },
        { binding: 'NAMED', function: 'adder', entrypoint: 'Named' },
      ],
    },
  });
  expect(await platform.call('adder')).toMatchObject({ status: 500, code: 'function_error' });
  expect(JSON.parse((await platform.call('asks-adder')).text)).toEqual([3, 8, 'function_error']);
});

test('cloudflare:email can be imported', async ({ expect }) => {
  await platform.api.deploy('mailer', {
    modules: {
      'index.js': `import { EmailMessage } from 'cloudflare:email';
        export default { fetch() { const { from, to } = new EmailMessage('a@example.com', 'b@example.com', 'raw'); return Response.json([from, to]); } };`,
    },
    config: { auth: { mode: 'public' } },
  });
  expect(JSON.parse((await platform.call('mailer')).text)).toEqual(['a@example.com', 'b@example.com']);
});
