/**
 * Goal: a site is served as on Cloudflare. Method: the same files, configuration and requests go to the gateway
 * and to the asset and router workers that Cloudflare publishes (they run in miniflare); status, location,
 * headers that matter and bodies must be equal.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Miniflare, type MiniflareOptions } from 'miniflare';
import { describe, test } from 'vitest';
import type { AssetsConfig } from '#shared/contracts/assets.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { fetchAs, startHarness } from '../testing/harness.node.ts';
import { siteItems } from '../testing/site.ts';

const FILES: Readonly<Record<string, string>> = {
  '/index.html': 'root',
  '/404.html': 'nothing here',
  '/about.html': 'about',
  '/both.html': 'both, the file',
  '/both/index.html': 'both, the folder',
  '/folder/index.html': 'folder',
  '/folder/page.html': 'page',
  '/folder/deep/404.html': 'nothing deep here',
  '/folder/deep/x.txt': 'x',
  '/plain': 'without a type',
  '/data.json': '{}',
  '/script.js': 'script',
  '/style.css': 'style',
  '/picture.svg': '<svg/>',
  '/with space.txt': 'space',
  '/[slug].html': 'brackets',
  '/ünï.txt': 'not ascii',
  '/a.b/index.html': 'dotted folder',
  '/index/index.html': 'index of index',
  '/twice/index': 'a file called index',
  '/twice/index.html': 'a page called index',
  '/html.html.html': 'thrice',
  '/_headers': `
# comment
/*
  X-All: yes
  Cache-Control: no-cache
/about
  X-All: again
  ! Cache-Control
/folder/:name
  X-Name: :name
/posts/:year-:month/*
  X-Post: :year/:month/:splat
https://:sub.example.com/*
  X-Host: :sub
/a/*/z
  X-Middle: :splat
/*.css
  X-Style: :splat
/bad
/nothing-follows
nonsense
`,
  '/_redirects': `
# from to status
/old /about 301
/old-303 /about 303
/old-307 /about?own=1 307
/old-308 https://elsewhere.example/x?y=1#z 308
/anchor /about#part
/shadow /data.json 200
/absent /not/there 200
/about/ /index.html
/blog/* /folder/:splat
/u/:id/p/:post /post?u=:id&p=:post 302
/rewrite/* /folder/:splat 200
/out/* https://elsewhere.example/:splat
/late /about
/blog/* /never
/* /index.html
/two/*/three/* /about
/too many words here now
/bad-status /about 418
`,
};

const PATHS = [
  ...Object.keys(FILES).filter((path) => !path.startsWith('/_')),
  '/',
  '//',
  '/index',
  '/index.html',
  '/about',
  '/about/',
  '/about.html',
  '/about/index',
  '/about/index.html',
  '/both',
  '/both/',
  '/both.html',
  '/both/index',
  '/both/index.html',
  '/folder',
  '/folder/',
  '/folder.html',
  '/folder/index',
  '/folder/index.html',
  '/folder/page',
  '/folder/page/',
  '/folder/page/index.html',
  '/folder/none',
  '/folder/deep',
  '/folder/deep/',
  '/folder/deep/none/at/all',
  '/nowhere',
  '/nowhere/x/y',
  '/plain/',
  '/plain.html',
  '/data',
  '/data.json/',
  '/with space.txt',
  '/with%20space.txt',
  '/[slug]',
  '/%5Bslug%5D',
  '/%5Bslug%5D.html',
  '/ünï.txt',
  '/%C3%BCn%C3%AF.txt',
  '/%ZZ',
  '/%',
  '/a%2Fb',
  '/folder%2Fpage',
  '/a.b',
  '/a.b/',
  '/index/',
  '/index/index',
  '/index/index.html',
  '/twice',
  '/twice/',
  '/twice/index',
  '/html',
  '/html.html',
  '/html.html.html',
  '/folder//page',
  '//about',
  '/x/../about',
  '/ABOUT',
  '/_headers',
  '/_redirects',
  '/old',
  '/old?q=1',
  '/old-303?q=1',
  '/old-307?q=1',
  '/old-308?q=1',
  '/anchor?q=1',
  '/shadow',
  '/absent',
  '/about/?q=2',
  '/blog/page',
  '/blog/page?x=1',
  '/blog/',
  '/blog',
  '/u/1/p/2',
  '/u/1/p/',
  '/u//p/2',
  '/rewrite/page',
  '/rewrite/none',
  '/out/a/b?c=d',
  '/late',
  '/posts/2026-11/a/b',
  '/posts/2026-11-05/x',
  '/posts/2026/x',
  '/a/z',
  '/a/b/z',
  '/a/b/c/z',
  '/a//z',
  '/about?query=kept',
  '/about.html?query=kept',
  '/both/index.html?a=b',
  '/api/x',
  '/api/docs/x',
];

interface Case {
  readonly name: string;
  readonly config: Partial<AssetsConfig>;
  readonly alone?: boolean;
}

const CASES: readonly Case[] = [
  ...(['auto-trailing-slash', 'force-trailing-slash', 'drop-trailing-slash', 'none'] as const).flatMap(
    (htmlHandling): Case[] =>
      (['none', '404-page', 'single-page-application'] as const).map((notFoundHandling) => ({
        name: `${htmlHandling}, ${notFoundHandling}, with code`,
        config: { htmlHandling, notFoundHandling },
      })),
  ),
  { name: 'no code, 404-page', alone: true, config: { notFoundHandling: '404-page' } },
  { name: 'no code, none', alone: true, config: {} },
  { name: 'code first', config: { runWorkerFirst: true } },
  {
    name: 'code first at some paths',
    config: {
      runWorkerFirst: ['/api/*', '/fold*page', '!/api/docs/*'],
      notFoundHandling: 'single-page-application',
    },
  },
];

/** One word: host names are lower case and short. */
const nameOf = (index: number): string => `site${index}`;

function oracleOf({ config, alone }: Case, directory: string): MiniflareOptions {
  const { runWorkerFirst = false, htmlHandling, notFoundHandling } = config;
  const lists = typeof runWorkerFirst === 'boolean' ? undefined : runWorkerFirst;
  return {
    name: 'site',
    modules: true,
    script: `export default { fetch: (request) => new Response('code ' + request.method, { headers: { 'x-code': '1' } }) };`,
    compatibilityDate: '2025-06-01',
    assets: {
      workerName: 'site',
      directory,
      routerConfig: {
        has_user_worker: alone !== true,
        invoke_user_worker_ahead_of_assets: runWorkerFirst === true,
        ...(lists === undefined
          ? {}
          : {
              static_routing: {
                user_worker: lists.filter((pattern) => !pattern.startsWith('!')),
                asset_worker: lists
                  .filter((pattern) => pattern.startsWith('!'))
                  .map((pattern) => pattern.slice(1)),
              },
            }),
      },
      assetConfig: {
        ...(htmlHandling === undefined ? {} : { html_handling: htmlHandling }),
        ...(notFoundHandling === undefined ? {} : { not_found_handling: notFoundHandling }),
      },
    },
  } as MiniflareOptions;
}

const HEADERS = [
  'location',
  'content-type',
  'cache-control',
  'x-all',
  'x-name',
  'x-post',
  'x-host',
  'x-middle',
  'x-style',
];

interface Seen {
  readonly status: number;
  readonly text: string;
  readonly headers: { get(name: string): string | null };
}

/** A refusal has a body of the platform's own; everything else is compared. */
function comparable({ status, text, headers }: Seen) {
  const own = text === '' || headers.get('content-type') === 'application/problem+json';
  const picked = HEADERS.filter((name) => !own || status < 400 || name.startsWith('x-')).map((name) => [
    name,
    headers.get(name),
  ]);
  const isCode = headers.get('x-code') !== null;
  return { status, text: own ? '' : text, headers: isCode ? [] : picked };
}

interface Asked {
  readonly path: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const ASKED: readonly Asked[] = [
  ...PATHS.map((path) => ({ path })),
  ...['/about', '/about.html', '/nowhere', '/old', '/absent'].flatMap((path) => [
    { path, method: 'POST' },
    { path, method: 'HEAD' },
    { path, method: 'OPTIONS' },
  ]),
  ...['/nowhere', '/folder/deep/none', '/about', '/api/x'].flatMap((path) => [
    { path, headers: { 'sec-fetch-mode': 'navigate' } },
    { path, headers: { 'sec-fetch-mode': 'cors' } },
  ]),
  { path: '/about', headers: { authorization: 'Bearer x' } },
];

describe('a site is served as Cloudflare serves it', () => {
  for (const each of CASES)
    test(each.name, { timeout: 120_000 }, async ({ expect }) => {
      const index = CASES.indexOf(each);
      await using folder = await tempFolder();
      for (const [path, content] of Object.entries(FILES)) {
        await mkdir(dirname(join(folder.path, path)), { recursive: true });
        await writeFile(join(folder.path, path), content);
      }
      const site = siteItems(nameOf(index), {
        files: FILES,
        config: each.config,
        ...(each.alone === undefined ? {} : { alone: each.alone }),
      });
      await using gateway = await startHarness(site.items, { assets: site.blobs });
      await gateway.instance(
        (incoming, outgoing) => outgoing.setHeader('x-code', '1').end(`code ${incoming.method}`),
        {
          versionId: `default/${nameOf(index)}@1`,
        },
      );
      const oracle = new Miniflare(oracleOf(each, folder.path));
      const host = `${nameOf(index)}.localhost`;
      const port = Number((await oracle.ready).port);
      const differences: unknown[] = [];
      try {
        for (const { path, method = 'GET', headers = {} } of ASKED) {
          const url = new URL(`http://${host}${path}`);
          const asked = { path: url.pathname + url.search, method, headers };
          const theirs = await fetchAs(port, host, asked);
          const ours = await gateway.request(host, asked);
          const expected = comparable({
            status: theirs.status,
            headers: theirs.headers,
            text: await theirs.text(),
          });
          const actual = comparable({ status: ours.status, headers: ours.headers, text: await ours.text() });
          if (JSON.stringify(expected) !== JSON.stringify(actual))
            differences.push(
              [method, path, headers, expected, actual].map((part) => JSON.stringify(part)).join(' '),
            );
        }
      } finally {
        await oracle.dispose();
      }
      expect(ASKED.length).toBeGreaterThan(120);
      expect(differences).toEqual([]);
    });
});
