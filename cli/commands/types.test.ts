/** `isoplane types` on real projects, judged by the real compiler. */
import { execFile } from 'node:child_process';
import { readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import { describe, test } from 'vitest';
import { seenByGit } from '#shared/testing/git.node.ts';
import { isoplane } from '../testing/run-command.ts';
import { tempProject } from '../testing/temp-project.ts';

const run = promisify(execFile);
const MODULES = resolve(import.meta.dirname, '../../node_modules');

const project = (extra: object): string =>
  JSON.stringify({ name: 'shop', main: 'index.ts', compatibilityDate: '2026-11-01', ...extra });

/** What the compiler complains about; empty when it is content. */
async function complaints(folder: string): Promise<string> {
  const tsc = join(MODULES, 'typescript/bin/tsc');
  return run(process.execPath, [tsc, '-p', folder]).then(
    () => '',
    (thrown: { stdout: string }) => thrown.stdout,
  );
}

const TSCONFIG = JSON.stringify({
  compilerOptions: {
    target: 'ES2023',
    lib: ['ES2023'],
    types: ['@cloudflare/workers-types'],
    module: 'ESNext',
    moduleResolution: 'Bundler',
    strict: true,
    allowImportingTsExtensions: true,
    skipLibCheck: true,
    noEmit: true,
  },
  include: ['*.ts'],
});

describe('isoplane types', () => {
  test('types variables, values of this machine, secrets, namespaces, bound functions and layers', async ({
    expect,
  }) => {
    await using folder = await tempProject({
      'shop/isoplane.jsonc': project({
        vars: { N: 1, LIST: ['a'], NESTED: { ok: true } },
        secrets: ['KEY', { binding: 'STRIPE', secret: 'stripe-key' }],
        kv: [{ binding: 'KV', namespace: 'store' }],
        rateLimits: [{ binding: 'LOGINS', limit: 5, periodSeconds: 60 }],
        versionMetadata: { binding: 'VERSION' },
        services: [
          { binding: 'PRICES', function: 'prices' },
          { binding: 'ADMIN', function: 'prices', entrypoint: 'Admin' },
          { binding: 'PLAIN', function: 'plain' },
          { binding: 'AWAY', function: 'away' },
        ],
        layers: [{ name: 'greet', version: 1 }],
      }),
      'shop/.dev.vars': 'LOCAL=1\n',
      'shop/greet/greeting.ts': 'export const greeting = (name: string): string => name;',
      'shop/tsconfig.json': TSCONFIG,
      'shop/index.ts': `import { greeting } from '/opt/greeting.js';
        import { env as ambient } from 'cloudflare:workers';
        export default { async fetch(_request: Request, env: Env): Promise<Response> {
          const total: number = env.N + await env.PRICES.price('tea') + await env.ADMIN.raise(1);
          const texts: string[] = [env.LOCAL, env.KEY, env.STRIPE, env.VERSION.id, ...env.LIST, greeting('x'), ambient.KEY];
          const ok: boolean = env.NESTED.ok && (await env.LOGINS.limit({ key: 'x' })).success;
          await env.PLAIN.fetch('http://plain/');
          await env.AWAY.fetch('http://away/');
          return Response.json([total, texts, ok, await env.KV.get('key')]);
        } };`,
      'prices/isoplane.jsonc': project({ name: 'prices' }),
      'prices/index.ts': `import { WorkerEntrypoint } from 'cloudflare:workers';
        export class Admin extends WorkerEntrypoint { raise(n: number): number { return n; } }
        export default class extends WorkerEntrypoint { price(item: string): number { return item.length; } }`,
      'plain/isoplane.jsonc': project({ name: 'plain' }),
      'plain/index.ts': "export default { fetch: () => new Response('x') };",
    });
    const shop = join(folder.path, 'shop');
    await symlink(MODULES, join(folder.path, 'node_modules'));
    expect((await isoplane(['types', '--check'], { cwd: shop })).code).toBe(1);
    expect(await isoplane(['types'], { cwd: shop })).toMatchObject({ code: 0, stderr: '' });
    expect(await complaints(shop)).toBe('');
    expect(await readFile(join(shop, 'isoplane-env.d.ts'), 'utf8')).not.toContain('any');
    expect((await isoplane(['types', '--check'], { cwd: shop })).code).toBe(0);
    // Each of these is wrong by the types that were written.
    await writeFile(
      join(shop, 'index.ts'),
      `import { greeting } from '/opt/greeting.js';
       export const f = (env: Env) => [
         env.N.length,
         env.PRICES.cost('tea'),
         env.KV.fetch('x'),
         env.NONE,
         greeting(1),
       ];`,
    );
    const wrong = await complaints(shop);
    for (const word of ['length', 'cost', 'fetch', 'NONE', "'number'"]) expect(wrong).toContain(word);
    // Types of a function are kept beside it, not in it.
    expect(await readdir(join(folder.path, 'prices'))).toEqual(['.isoplane', 'index.ts', 'isoplane.jsonc']);
    expect((await seenByGit(folder.path)).filter((path) => path.includes('.isoplane/'))).toEqual([]);
    await writeFile(join(shop, 'isoplane.jsonc'), project({ vars: { M: 1 } }));
    const stale = await isoplane(['--json', 'types', '--check'], { cwd: shop });
    expect([stale.code, stale.json()]).toMatchObject([1, { error: { code: 'types_stale' } }]);
  });

  test('lets functions that are bound to each other have an `Env` each, of one name', async ({ expect }) => {
    const code = (body: string): string => `import { WorkerEntrypoint } from 'cloudflare:workers';
      export interface Entry { readonly id: string }
      export default class extends WorkerEntrypoint<Env> {
        ${body}
        override fetch(): Response { return new Response(); }
      }`;
    await using folder = await tempProject({
      'a/isoplane.jsonc': project({
        name: 'a',
        vars: { SAME: 1 },
        services: [{ binding: 'B', function: 'b' }],
      }),
      'a/tsconfig.json': TSCONFIG,
      'a/index.ts': code(`async one(): Promise<number> {
          const kept: boolean = await this.env.B.keep({ id: 'x' });
          return kept ? this.env.SAME : 0;
        }`),
      'b/isoplane.jsonc': project({
        name: 'b',
        vars: { SAME: 'text' },
        kv: [{ binding: 'KV', namespace: 'store' }],
        services: [{ binding: 'A', function: 'a' }],
      }),
      'b/tsconfig.json': TSCONFIG,
      'b/index.ts': code(`async keep({ id }: Entry): Promise<boolean> {
          await this.env.KV.put(id, this.env.SAME.toUpperCase());
          return (await this.env.A.one()) > 0;
        }`),
    });
    await symlink(MODULES, join(folder.path, 'node_modules'));
    for (const name of ['a', 'b'])
      expect(await isoplane(['types', name], { cwd: folder.path })).toMatchObject({ code: 0, stderr: '' });
    expect(await complaints(join(folder.path, 'a'))).toBe('');
    expect(await complaints(join(folder.path, 'b'))).toBe('');
    await writeFile(join(folder.path, 'a', 'wrong.ts'), "export const w = (env: Env) => env.B.keep('x');");
    expect(await complaints(join(folder.path, 'a'))).toContain("'Entry'");
  });
});
