/**
 * Goal: static files are served as a web server would, and only those that were meant to be. Method: folders are
 * deployed by the command to a running platform and read through its gateway, byte by byte.
 */
import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { request } from 'undici';
import { tempProject } from '#cli/testing/temp-project.ts';
import { layoutOf } from '#shared/runtime/layout.node.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import type { TempFolder } from '#shared/testing/temp.node.ts';
import { isAlive } from '../support/proc.ts';
import { hostOf, TestPlatform } from '../support/platform.ts';
import { deploySite, getFile, siteConfig, type FileAsked, type Got } from '../support/sites.ts';

/** Neither compressible nor the same anywhere: a byte that is missing or twice shows. */
function noise(bytes: number): Uint8Array {
  const blocks: Buffer[] = [];
  for (let have = 0; have < bytes; have += 32)
    blocks.push(createHash('sha256').update(`block ${have}`).digest());
  return new Uint8Array(Buffer.concat(blocks).subarray(0, bytes));
}

const BIG = noise(5 * 1024 * 1024 + 7);
const SCRIPT = `// ${'a line that repeats itself. '.repeat(400)}\nexport const answer = 42;\n`;
const PICTURE = noise(3_000);
const SITE = {
  'isoplane.jsonc': siteConfig('site', { assets: { directory: 'public', notFoundHandling: '404-page' } }),
  'public/index.html': '<h1>home</h1>\n',
  'public/about.html': '<h1>about</h1>\n',
  'public/404.html': '<h1>nothing here</h1>\n',
  'public/app.js': SCRIPT,
  'public/picture.png': PICTURE,
  'public/big.bin': BIG,
  'public/.well-known/security.txt': 'Contact: mailto:a@example.com\n',
  'public/_headers':
    '/*\n  x-frame-options: DENY\n/app.js\n  cache-control: public, max-age=60\n  ! x-frame-options\n',
  'public/_redirects': '/old /about 301\n/docs/* /about?from=:splat 302\n/proxy /about 200\n',
  'public/.assetsignore': '*.map\n/drafts\n',
  'public/app.js.map': '{"hidden":true}',
  'public/drafts/plan.txt': 'hidden',
  'public/.dev.vars': 'KEY=hidden',
  'public/.env.local': 'KEY=hidden',
  'public/.git/config': 'hidden',
  'public/node_modules/x/index.js': 'hidden',
};

let platform: TestPlatform;
let site: TempFolder;

const get = (...asked: FileAsked): Promise<Got> => getFile(platform, ...asked);

/** Without those of the moment and of the connection. */
function ownHeaders({ headers }: Got): Got['headers'] {
  const { date: _date, connection: _connection, 'keep-alive': _keepAlive, ...own } = headers;
  return own;
}

beforeAll(async () => {
  platform = await TestPlatform.start();
  site = await tempProject(SITE);
  await deploySite(platform, site);
}, 120_000);
afterAll(async () => {
  await platform?.[Symbol.asyncDispose]();
  await site?.[Symbol.asyncDispose]();
});

describe('a file', () => {
  test('is not sent again to whoever has it', async ({ expect }) => {
    const first = await get('site', '/');
    const tag = String(first.headers['etag']);
    expect(tag).toMatch(/^"[0-9a-f]{32}"$/);
    expect([first.status, first.text]).toEqual([200, '<h1>home</h1>\n']);
    for (const condition of [tag, `W/${tag}`, `"other", ${tag}`, '*']) {
      const again = await get('site', '/', { 'if-none-match': condition });
      expect([condition, again.status, again.text]).toEqual([condition, 304, '']);
      expect(again.headers).toMatchObject({
        etag: tag,
        'cache-control': 'public, max-age=0, must-revalidate',
      });
      expect(again.headers['content-type']).toBeUndefined();
    }
    expect((await get('site', '/', { 'if-none-match': '"other"' })).status).toBe(200);
  });

  test('is sent only to whoever means it, when that is asked', async ({ expect }) => {
    const tag = String((await get('site', '/')).headers['etag']);
    for (const [condition, status] of [
      [tag, 200],
      [`"other", ${tag}`, 200],
      ['*', 200],
      ['"other"', 412],
      [`W/${tag}`, 412],
    ] as const) {
      const answer = await get('site', '/', { 'if-match': condition });
      expect([condition, answer.status, answer.headers['etag']]).toEqual([condition, status, tag]);
    }
    // It comes before the other condition.
    expect((await get('site', '/', { 'if-match': '"other"', 'if-none-match': tag })).status).toBe(412);
  });

  test('that stands in for a missing one is sent to whoever has it, too: nothing was found again', async ({
    expect,
  }) => {
    const missing = await get('site', '/nowhere');
    const tag = String(missing.headers['etag']);
    for (const name of ['if-none-match', 'if-match']) {
      const again = await get('site', '/nowhere', { [name]: name === 'if-match' ? '"other"' : tag });
      expect([name, again.status, again.text]).toEqual([name, 404, missing.text]);
    }
  });

  test('is sent in parts, from memory and from disk', async ({ expect }) => {
    for (const [path, whole] of [
      ['/picture.png', PICTURE],
      ['/big.bin', BIG],
    ] as const) {
      const size = whole.byteLength;
      const parts = [
        ['bytes=0-0', 0, 0],
        ['bytes=100-299', 100, 299],
        [`bytes=${size - 5}-`, size - 5, size - 1],
        ['bytes=-7', size - 7, size - 1],
        [`bytes=10-${size * 2}`, 10, size - 1],
      ] as const;
      for (const [range, from, to] of parts) {
        const part = await get('site', path, { range });
        expect([range, part.status, part.headers['content-range']]).toEqual([
          range,
          206,
          `bytes ${from}-${to}/${size}`,
        ]);
        expect(part.bytes.equals(whole.subarray(from, to + 1)), range).toBe(true);
      }
      const beyond = await get('site', path, { range: `bytes=${size}-` });
      expect([beyond.status, beyond.headers['content-range'], beyond.text]).toEqual([
        416,
        `bytes */${size}`,
        '',
      ]);
      const tag = String(beyond.headers['etag']);
      expect((await get('site', path, { range: 'bytes=0-1', 'if-range': tag })).status).toBe(206);
      const stale = await get('site', path, { range: 'bytes=0-1', 'if-range': '"stale"' });
      expect([stale.status, stale.bytes.equals(whole)]).toEqual([200, true]);
      // Several at once, and what is no range, are answered whole.
      expect((await get('site', path, { range: 'bytes=0-1,3-4' })).status).toBe(200);
      expect((await get('site', path, { range: 'lines=0-1' })).status).toBe(200);
    }
  });

  test('tells HEAD what it would tell GET', async ({ expect }) => {
    for (const path of ['/', '/app.js', '/picture.png', '/big.bin', '/nowhere']) {
      const whole = await get('site', path);
      const head = await get('site', path, {}, 'HEAD');
      expect([path, head.status, ownHeaders(head)]).toEqual([path, whole.status, ownHeaders(whole)]);
      expect([head.bytes.byteLength, Number(head.headers['content-length'])]).toEqual([
        0,
        whole.bytes.byteLength,
      ]);
    }
    expect(await get('site', '/', {}, 'POST')).toMatchObject({
      status: 405,
      headers: { allow: 'GET, HEAD' },
    });
  });

  test('is compressed for whoever takes it so, and says that it depends', async ({ expect }) => {
    const plain = await get('site', '/app.js');
    expect(plain.headers).toMatchObject({ vary: 'accept-encoding' });
    expect([plain.headers['content-encoding'], plain.text]).toEqual([undefined, SCRIPT]);
    const seen = new Set([plain.headers['etag']]);
    for (const [accepted, coding, decode] of [
      ['gzip, deflate, br', 'br', brotliDecompressSync],
      ['gzip', 'gzip', gunzipSync],
      ['br;q=0, *', 'gzip', gunzipSync],
    ] as const) {
      const answer = await get('site', '/app.js', { 'accept-encoding': accepted });
      expect(answer.headers).toMatchObject({ 'content-encoding': coding, vary: 'accept-encoding' });
      expect(decode(answer.bytes).toString()).toBe(SCRIPT);
      expect(answer.bytes.byteLength).toBeLessThan(SCRIPT.length / 10);
      seen.add(answer.headers['etag']);
      const again = await get('site', '/app.js', {
        'accept-encoding': accepted,
        'if-none-match': String(answer.headers['etag']),
      });
      expect([again.status, again.headers['vary']]).toEqual([304, 'accept-encoding']);
    }
    expect(seen.size).toBe(3);
    // Parts are those of the file itself.
    const part = await get('site', '/app.js', { 'accept-encoding': 'br', range: 'bytes=3-8' });
    expect([part.status, part.headers['content-encoding'], part.text]).toEqual([
      206,
      undefined,
      SCRIPT.slice(3, 9),
    ]);
    for (const path of ['/picture.png', '/big.bin', '/']) {
      const answer = await get('site', path, { 'accept-encoding': 'br' });
      expect([path, answer.headers['content-encoding'], answer.headers['vary']]).toEqual([
        path,
        undefined,
        undefined,
      ]);
    }
  });

  test('of more than fits into memory arrives whole, to several at once and after one left early', async ({
    expect,
  }) => {
    const left = new AbortController();
    const early = await request(`${platform.gatewayUrl}/big.bin`, {
      headers: { host: hostOf(platform.gatewayUrl, 'site') },
      signal: left.signal,
    });
    early.body.on('error', () => undefined);
    left.abort();
    const answers = await Promise.all([1, 2, 3].map(() => get('site', '/big.bin')));
    for (const { status, headers, bytes } of answers) {
      expect([status, headers['content-length']]).toEqual([200, String(BIG.byteLength)]);
      expect(bytes.equals(BIG)).toBe(true);
    }
  });

  test('has the headers that _headers gives it', async ({ expect }) => {
    expect((await get('site', '/')).headers['x-frame-options']).toBe('DENY');
    const script = await get('site', '/app.js');
    expect([script.headers['x-frame-options'], script.headers['cache-control']]).toEqual([
      undefined,
      'public, max-age=60',
    ]);
  });

  test('is where _redirects says', async ({ expect }) => {
    const seen = await Promise.all(
      ['/old?q=1', '/docs/a/b', '/proxy'].map(async (path) => {
        const { status, headers, text } = await get('site', path);
        return [path, status, headers['location'], text];
      }),
    );
    expect(seen).toEqual([
      ['/old?q=1', 301, '/about?q=1', ''],
      ['/docs/a/b', 302, '/about?from=a/b', ''],
      ['/proxy', 200, undefined, '<h1>about</h1>\n'],
    ]);
  });
});

describe('what was not meant to be served', () => {
  test('is not there', async ({ expect }) => {
    const paths = [
      '/_headers',
      '/_redirects',
      '/.assetsignore',
      '/app.js.map',
      '/drafts/plan.txt',
      '/.dev.vars',
      '/.env.local',
      '/.git/config',
      '/node_modules/x/index.js',
      '/isoplane.jsonc',
      '/%2e%2e/isoplane.jsonc',
      '/public/index.html',
    ];
    for (const path of paths) {
      const answer = await get('site', path);
      expect([path, answer.status, answer.text.includes('hidden')]).toEqual([path, 404, false]);
    }
    // Encoded slashes are slashes of the canonical address, which is one of this site.
    for (const path of [
      '/..%2fisoplane.jsonc',
      '/..%5cisoplane.jsonc',
      '/..%2f%2fexample.com',
      '//etc/passwd',
    ]) {
      const answer = await get('site', path);
      expect([path, answer.text, [307, 404].includes(answer.status)]).toEqual([
        path,
        answer.status === 307 ? '' : SITE['public/404.html'],
        true,
      ]);
      const location = new URL(String(answer.headers['location'] ?? path), 'http://site.test');
      expect([location.host, (await get('site', location.pathname)).status]).toEqual(['site.test', 404]);
    }
    expect((await get('site', '/.well-known/security.txt')).status).toBe(200);
  });
});

describe('when control is gone', () => {
  test(
    'a gateway serves what it served before, from its own disk',
    { timeout: 120_000 },
    async ({ expect }) => {
      const paths = ['/', '/app.js', '/big.bin'];
      const before = await Promise.all(paths.map((path) => get('site', path)));
      const pids = platform.platform.pids();
      const killed = Object.keys(pids).flatMap((name) =>
        name === 'control' || name.startsWith('gateway') ? [pids[name] ?? 0] : [],
      );
      expect(killed.length).toBeGreaterThan(1);
      // Control comes back, but has nothing any more: whatever is served now came from the gateway's disk.
      await rm(layoutOf(platform.dataDir).assets, { recursive: true });
      for (const pid of killed) process.kill(pid, 'SIGKILL');
      await waitFor('all to be gone', () => !killed.some(isAlive));
      const answered = await waitFor(
        'the gateway to be back',
        async () => {
          try {
            return await get('site', '/');
          } catch {
            return undefined;
          }
        },
        60_000,
      );
      expect(answered.text).toBe('<h1>home</h1>\n');
      const after = await Promise.all(paths.map((path) => get('site', path)));
      expect(after.map(({ bytes }) => bytes.equals(BIG) || bytes.toString())).toEqual(
        before.map(({ bytes }) => bytes.equals(BIG) || bytes.toString()),
      );
    },
  );
});
