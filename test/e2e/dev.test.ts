/** `isoplane dev` from outside: what is served is the deployed thing, and a save is served soon. */
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { existsSync } from 'node:fs';
import { mkdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { tempProject } from '#cli/testing/temp-project.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { seenByGit } from '#shared/testing/git.node.ts';
import { runCli, spawnCli } from '../support/cli.ts';
import { DevProcess } from '../support/dev.ts';

const config = (name: string, extra: object = {}): string =>
  JSON.stringify({ name, main: 'index.ts', compatibilityDate: '2026-11-01', ...extra });
const PUBLIC = { auth: { mode: 'public' } };
const says = (text: string): string => `export default { fetch: () => new Response('${text}') };`;

/** Each starts whole platforms. */
describe('isoplane dev', { timeout: 180_000 }, () => {
  test('serves at the bare host and its own, and serves a save; code that does not build leaves the version before', async ({
    expect,
  }) => {
    await using folder = await tempProject({
      'isoplane.jsonc': config('a', PUBLIC),
      'index.ts': says('one'),
    });
    await using dev = await DevProcess.start(folder.path);
    const text = async (): Promise<string> => (await dev.fetch('/')).text();
    expect(await text()).toBe('one');
    expect((await dev.call('a')).text).toBe('one');
    await writeFile(join(folder.path, 'index.ts'), says('two'));
    await waitFor('the save to be served', async () => (await text()) === 'two');
    await writeFile(join(folder.path, 'index.ts'), 'const = ;');
    const failed = await dev.event('error');
    expect(failed).toMatchObject({ error: { code: 'bundle_failed', problems: [{ at: 'index.ts:1:7' }] } });
    expect(await text()).toBe('two');
    // A start that fails is refused in the same way, with the place in the source.
    await writeFile(join(folder.path, 'index.ts'), `\n\nthrow new Error('at the top');\n${says('never')}`);
    const refused = await waitFor('the refusal', () =>
      dev.events.find((event) => JSON.stringify(event).includes('publish_startup_failed')),
    );
    expect(JSON.stringify(refused)).toContain('index.ts:3:');
    expect(await text()).toBe('two');
    await writeFile(join(folder.path, 'isoplane.jsonc'), config('a', { ...PUBLIC, vars: { A: 1 } }));
    await writeFile(
      join(folder.path, 'index.ts'),
      'export default { fetch: (_r: Request, env: { A: number }) => new Response(`three ${env.A}`) };',
    );
    await waitFor('the changed configuration', async () => (await text()) === 'three 1');
  });

  test('answers and logs as after deployment: error documents, mapped stacks once, limits, request lines', async ({
    expect,
  }) => {
    await using folder = await tempProject({
      'isoplane.jsonc': config('a', { ...PUBLIC, limits: { cpuMs: 50, subrequests: 1 } }),
      'index.ts': `export default { async fetch(request: Request) {
  const { pathname } = new URL(request.url);
  if (pathname === '/loop') for (;;);
  if (pathname === '/many') return new Response(await Promise.all([1, 2].map(() => fetch('http://127.0.0.1:1/'))).catch(String));
  if (pathname === '/throw') throw new Error('boom');
  return Response.json({ cf: request.cf ?? null, worker: request.headers.get('cf-worker') });
} };`,
    });
    await using dev = await DevProcess.start(folder.path);
    const code = async (path: string): Promise<unknown> => {
      const answer = await dev.fetch(path);
      return [answer.status, ((await answer.json()) as { code: string }).code];
    };
    expect(await code('/throw')).toEqual([500, 'function_error']);
    const thrown = await dev.event('log', ({ message }) => String(message).includes('boom'));
    expect(String(thrown['stack'])).toContain('index.ts:5:');
    expect(
      dev.events.filter(({ type, message }) => type === 'log' && String(message).includes('boom')),
    ).toHaveLength(1);
    expect(await code('/loop')).toEqual([500, 'cpu_exceeded']);
    expect(await (await dev.fetch('/many')).text()).toMatch(/subrequest|egress_/);
    expect(await (await dev.fetch('/')).json()).toMatchObject({ worker: null });
    const line = await dev.event('request', ({ path }) => path === '/throw');
    expect(line).toMatchObject({ method: 'GET', status: 500, complete: true });
  });

  test('runs the functions of a folder together, with fetch and RPC between them and KV that outlives a session', async ({
    expect,
  }) => {
    await using folder = await tempProject({
      'front/isoplane.jsonc': config('front', {
        ...PUBLIC,
        services: [
          { binding: 'BACK', function: 'back' },
          { binding: 'GONE', function: 'gone' },
        ],
        kv: [{ binding: 'KV', namespace: 'store' }],
      }),
      'front/index.ts': `export default { async fetch(request: Request, env: any) {
        if (request.method === 'PUT') await env.KV.put('key', 'kept');
        return Response.json([await env.BACK.double(21), await (await env.BACK.fetch('http://back/')).text(), await env.KV.get('key')]);
      } };`,
      'back/isoplane.jsonc': config('back'),
      'back/index.ts': `import { WorkerEntrypoint } from 'cloudflare:workers';
        export default class extends WorkerEntrypoint {
          double(n: number) { return 2 * n; }
          fetch() { return new Response('from back'); }
        }`,
    });
    {
      await using dev = await DevProcess.start(folder.path);
      expect(dev.ready.functions.map(({ name }) => name)).toEqual(['back', 'front']);
      expect(JSON.parse((await dev.call('front', { method: 'PUT' })).text)).toEqual([
        42,
        'from back',
        'kept',
      ]);
      expect(dev.errors).toContain('bound to gone, which this session does not run');
    }
    await using again = await DevProcess.start(folder.path);
    expect(JSON.parse((await again.call('front')).text)).toEqual([42, 'from back', 'kept']);
    // Above projects there is no .gitignore of a template. `isoplane up` there takes a folder of this user alone.
    expect(existsSync(join(folder.path, '.isoplane/dev/credentials.json'))).toBe(true);
    expect((await seenByGit(folder.path)).filter((path) => path.includes('.isoplane'))).toEqual([]);
    expect((await stat(join(folder.path, '.isoplane'))).mode & 0o777).toBe(0o700);
  });

  test('checks callers as deployed, or lets everybody in as a pretended one with claims', async ({
    expect,
  }) => {
    const files = {
      'isoplane.jsonc': config('a', {
        auth: {
          mode: 'jwt',
          audience: 'here',
          issuer: 'https://issuer.example',
          jwks: { keys: [{ kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' }] },
        },
      }),
      'index.ts': `export default { fetch: (r: Request) => new Response(atob((r.headers.get('isoplane-claims') ?? '').replaceAll('-', '+').replaceAll('_', '/'))) };`,
    };
    await using folder = await tempProject(files);
    {
      await using dev = await DevProcess.start(folder.path);
      expect((await dev.fetch('/')).status).toBe(401);
    }
    await using dev = await DevProcess.start(folder.path, '--auth', 'off', '--claims', '{"role":"admin"}');
    expect(await (await dev.fetch('/')).json()).toMatchObject({
      sub: 'dev',
      aud: 'here',
      iss: 'https://issuer.example',
      role: 'admin',
    });
  });

  test('runs an environment of a wrangler file, with values of its own', async ({ expect }) => {
    await using folder = await tempProject({
      'front/wrangler.toml':
        'name = "front"\nmain = "index.ts"\ncompatibility_date = "2026-11-01"\n[env.staging]\nvars = { WHERE = "staging" }\n',
      'front/isoplane.jsonc': JSON.stringify(PUBLIC),
      'front/index.ts':
        'export default { fetch: (_r: Request, env: any) => new Response(`${env.WHERE} ${env.KEY}`) };',
      'front/.dev.vars': 'KEY=top',
      'front/.dev.vars.staging': 'KEY=own',
      'back/isoplane.jsonc': config('back', PUBLIC),
      'back/index.ts': says('back'),
    });
    await using dev = await DevProcess.start(folder.path, '--env', 'staging');
    expect((await dev.call('front-staging')).text).toBe('staging own');
    expect((await dev.call('back')).text).toBe('back');
    expect(dev.errors).toContain('has no environment staging: its top level is taken');
    await using refused = await DevProcess.start(join(folder.path, 'front'), '--env', 'stagign');
    expect(JSON.stringify(await refused.event('error'))).toContain('there is no environment stagign');
  });

  test('takes in projects that are added to its folder later, and lets go of those that are removed', async ({
    expect,
  }) => {
    await using folder = await tempProject({
      'one/isoplane.jsonc': config('one', PUBLIC),
      'one/index.ts': says('one'),
    });
    await using dev = await DevProcess.start(folder.path);
    expect((await dev.call('one')).text).toBe('one');
    await mkdir(join(folder.path, 'two'));
    await writeFile(join(folder.path, 'two/index.ts'), says('two'));
    await writeFile(join(folder.path, 'two/isoplane.jsonc'), config('two', PUBLIC));
    expect(await dev.event('served', (event) => event['function'] === 'two')).toMatchObject({
      url: expect.stringContaining('//two.localhost') as unknown,
    });
    expect((await dev.call('two')).text).toBe('two');
    await writeFile(join(folder.path, 'two/index.ts'), says('changed'));
    await waitFor('the save to be served', async () => (await dev.call('two')).text === 'changed');
    await rename(join(folder.path, 'two'), join(folder.path, 'zwei'));
    await writeFile(join(folder.path, 'zwei/index.ts'), says('moved'));
    await waitFor('the moved project', async () => (await dev.call('two')).text === 'moved');
    await rm(join(folder.path, 'zwei'), { recursive: true });
    await waitFor('it to be gone', async () => (await dev.call('two')).code === 'function_not_found');
  });

  test('hints at --auth off where the platform refused a caller, not where a public function did', async ({
    expect,
  }) => {
    await using folder = await tempProject({
      'isoplane.jsonc': config('a', {
        ...PUBLIC,
        authByPath: [{ path: '/closed', auth: { mode: 'signed' } }],
      }),
      'index.ts': 'export default { fetch: () => new Response("who?", { status: 401 }) };',
    });
    const said: string[] = [];
    const child = spawnCli(['dev', '--port', '0'], { cwd: folder.path });
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (chunk: Buffer) => said.push(chunk.toString('utf8')));
    try {
      const url = await waitFor(
        'its address',
        () => /http:\/\/localhost:\d+\//.exec(said.join(''))?.[0],
        60_000,
      );
      const at = async (path: string): Promise<number> =>
        (await fetch(url.replace('localhost', '127.0.0.1') + path)).status;
      expect(await at('open')).toBe(401);
      await waitFor('its line', () => said.join('').includes('/open'));
      expect(said.join('')).not.toContain('--auth off');
      expect(await at('closed')).toBe(401);
      await waitFor('the hint', () => said.join('').includes('--auth off'));
      const text = said.join('');
      expect(text.indexOf('/closed')).toBeLessThan(text.indexOf('--auth off'));
    } finally {
      child.kill('SIGTERM');
    }
  });

  test('says which origin a preflight of a browser came from in vain', async ({ expect }) => {
    await using folder = await tempProject({
      'isoplane.jsonc': config('a', { ...PUBLIC, cors: { origins: ['https://*.example.com'] } }),
      'index.ts': 'export default { fetch: () => new Response("ok") };',
    });
    await using dev = await DevProcess.start(folder.path);
    const ask = async (origin: string, method: string, path: string): Promise<void> => {
      const headers = { origin, 'access-control-request-method': 'PUT' };
      await (await dev.fetch(path, { method, headers })).arrayBuffer();
      await dev.event('request', (event) => event['path'] === path);
    };
    await ask('https://app.example.com', 'OPTIONS', '/listed');
    await ask('https://read.example.org', 'GET', '/no-preflight');
    await ask('https://app.example.org', 'OPTIONS', '/not-listed');
    await waitFor('the line', () => dev.errors.includes('https://app.example.org'));
    expect(dev.errors.match(/cors: .*/g)).toEqual([
      'cors: origin https://app.example.org is not listed in cors.origins',
    ]);
    const headers = { origin: 'https://b.example.org', 'access-control-request-method': 'GET' };
    await dev.call('a', { method: 'OPTIONS', headers });
    await waitFor('the line', () => dev.errors.includes('cors: origin https://b.example.org is not listed'));
  });

  test('reads .dev.vars, and says which secret has no value there', async ({ expect }) => {
    await using folder = await tempProject({
      'isoplane.jsonc': config('a', {
        ...PUBLIC,
        vars: { A: 'committed' },
        secrets: ['TOKEN'],
        egress: { headers: [{ host: 'api.example.com', header: 'authorization', secret: 'api-key' }] },
      }),
      'index.ts':
        'export default { fetch: (_r: Request, env: Record<string, string>) => new Response(`${env.A} ${env.TOKEN}`) };',
    });
    await using dev = await DevProcess.start(folder.path);
    expect(await dev.event('error')).toMatchObject({
      error: { code: 'secret_not_found', problems: [{ message: 'TOKEN' }, { message: 'api-key' }] },
    });
    await writeFile(join(folder.path, '.dev.vars'), 'A=local\nTOKEN=sealed\napi-key=x\n');
    await dev.event('served');
    expect(await (await dev.fetch('/')).text()).toBe('local sealed');
  });

  test('serves static files as deployed, also from a folder beside the project, and those that are saved later', async ({
    expect,
  }) => {
    await using folder = await tempProject({
      'site/isoplane.jsonc': config('site', {
        ...PUBLIC,
        assets: {
          directory: '../dist',
          binding: 'ASSETS',
          notFoundHandling: '404-page',
          runWorkerFirst: ['/api/*'],
        },
      }),
      'site/index.ts': `export default { async fetch(request: Request, env: { ASSETS: Fetcher }) {
        return new Response('code: ' + await (await env.ASSETS.fetch(new URL('/about', request.url))).text());
      } };`,
      'dist/index.html': '<h1>home</h1>',
      'dist/about.html': '<h1>about</h1>',
      'dist/404.html': '<h1>nothing</h1>',
      'dist/_headers': '/*\n  x-frame-options: DENY\n',
      'dist/_redirects': '/old /about 301\n',
      'dist/.dev.vars': 'KEY=hidden',
    });
    await using dev = await DevProcess.start(join(folder.path, 'site'));
    const get = async (path: string): Promise<readonly unknown[]> => {
      const answer = await dev.fetch(path, { redirect: 'manual' });
      return [answer.status, await answer.text()];
    };
    expect(await get('/')).toEqual([200, '<h1>home</h1>']);
    expect(await get('/about')).toEqual([200, '<h1>about</h1>']);
    expect(await get('/nowhere')).toEqual([404, '<h1>nothing</h1>']);
    expect(await get('/.dev.vars')).toEqual([404, '<h1>nothing</h1>']);
    expect(await get('/api/x')).toEqual([200, 'code: <h1>about</h1>']);
    const first = await dev.fetch('/');
    expect(first.headers.get('x-frame-options')).toBe('DENY');
    const again = await dev.fetch('/', { headers: { 'if-none-match': first.headers.get('etag') ?? '' } });
    expect(again.status).toBe(304);
    expect((await dev.fetch('/old', { redirect: 'manual' })).headers.get('location')).toBe('/about');
    await writeFile(join(folder.path, 'dist/index.html'), '<h1>changed</h1>');
    await waitFor('the changed file', async () => (await get('/'))[1] === '<h1>changed</h1>');
    await writeFile(join(folder.path, 'dist/new.html'), '<h1>new</h1>');
    await waitFor('the new file', async () => (await get('/new'))[1] === '<h1>new</h1>');
    await rm(join(folder.path, 'dist/about.html'));
    await waitFor('the file to be gone', async () => (await get('/about'))[0] === 404);
  });

  test('takes layers from folders, and serves them anew when they change', async ({ expect }) => {
    await using folder = await tempProject({
      'app/isoplane.jsonc': config('a', { ...PUBLIC, layers: [{ name: 'greet', version: 7 }] }),
      'app/index.ts': "import { g } from '/opt/greet.js'; export default { fetch: () => new Response(g) };",
      'greet/greet.ts': "export const g: string = 'layer';",
    });
    await using dev = await DevProcess.start(join(folder.path, 'app'), '--layer', 'greet=../greet');
    expect(await (await dev.fetch('/')).text()).toBe('layer');
    await writeFile(join(folder.path, 'greet/greet.ts'), "export const g: string = 'changed';");
    await waitFor('the changed layer', async () => (await (await dev.fetch('/')).text()) === 'changed');
  });

  test('serves the last of many quick saves, follows a new name, and outlives a crashing function', async () => {
    await using folder = await tempProject({ 'isoplane.jsonc': config('a', PUBLIC), 'index.ts': says('0') });
    await using dev = await DevProcess.start(folder.path);
    for (let save = 1; save <= 50; save += 1)
      await writeFile(join(folder.path, 'index.ts'), says(String(save)));
    await waitFor('the last save', async () => (await (await dev.fetch('/')).text()) === '50');
    // As editors write: beside it, then in its place.
    await writeFile(join(folder.path, 'index.ts.new'), says('renamed file'));
    await rename(join(folder.path, 'index.ts.new'), join(folder.path, 'index.ts'));
    await waitFor('the renamed file', async () => (await (await dev.fetch('/')).text()) === 'renamed file');
    await writeFile(join(folder.path, 'isoplane.jsonc'), config('b', PUBLIC));
    await waitFor('the new name', async () => (await dev.call('b')).text === 'renamed file');
    await waitFor('the old one to be gone', async () => (await dev.call('a')).code === 'function_not_found');
    await writeFile(
      join(folder.path, 'index.ts'),
      "export default { fetch: () => new Response(String('x'.repeat(2 ** 28).split('').length)) };",
    );
    await waitFor('the crash', async () => (await dev.fetch('/')).status >= 500);
    await writeFile(join(folder.path, 'index.ts'), says('well again'));
    await waitFor('the mended code', async () => (await (await dev.fetch('/')).text()) === 'well again');
  });

  test('a taken port is said and ends it, leaving nothing; so does a folder that is taken away', async ({
    expect,
  }) => {
    await using folder = await tempProject({
      'isoplane.jsonc': config('a', PUBLIC),
      'index.ts': says('one'),
    });
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const { port } = taken.address() as AddressInfo;
    const refused = await runCli(['--json', 'dev', '--port', String(port)], { cwd: folder.path });
    taken.close();
    expect([refused.code, refused.json()]).toMatchObject([
      1,
      { error: { code: 'port_in_use', advice: 'Stop what uses the port, or choose another with --port.' } },
    ]);
    const dev = await DevProcess.start(folder.path);
    await rm(dev.ready.dataDir, { recursive: true, force: true });
    expect(await dev.exited).toBe(1);
    expect(existsSync(dev.ready.dataDir)).toBe(false);
  });

  test('the first SIGINT ends it, also while it starts', async ({ expect }) => {
    await using folder = await tempProject({
      'isoplane.jsonc': config('a', PUBLIC),
      'index.ts': says('one'),
    });
    const starting = spawnCli(['dev', '--port', '0'], { cwd: folder.path });
    await waitFor('the start to be under way', () => existsSync(join(folder.path, '.isoplane/dev/logs')));
    const ended = new Promise((resolve) => starting.once('exit', resolve));
    starting.kill('SIGINT');
    expect(await ended).toBe(130);
    const dev = await DevProcess.start(folder.path);
    dev.child.kill('SIGINT');
    expect(await dev.exited).toBe(0);
  });
});
