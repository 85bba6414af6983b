/**
 * The guides of docs/, step by step. The shortener needs nothing but the command, so it is followed here to its end;
 * those that install packages are followed in test/packaging.
 */
import { chmod, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { tempFolder, type TempFolder } from '#shared/testing/temp.node.ts';
import { filesOf, follow, guide, nodeFolder } from '../support/guide.ts';
import { repositoryRoot } from '../support/paths.ts';
import { UpProcess } from '../support/up.ts';

describe('guides', () => {
  test('name each file in the text before it, so that a reader knows where it goes', async ({ expect }) => {
    const { readFile } = await import('node:fs/promises');
    const names = (await readdir(join(repositoryRoot, 'docs'))).filter((file) => file.startsWith('guide-'));
    expect(names.length).toBe(3);
    for (const file of names) {
      const page = await readFile(join(repositoryRoot, 'docs', file), 'utf8');
      const lines = page.split('\n');
      for (const snippet of await guide(file.slice(0, -'.md'.length)))
        for (const path of filesOf(snippet)) {
          const line = Number(snippet.at.split(':')[1]);
          const before = lines.slice(Math.max(0, line - 22), line - 1).join('\n');
          expect(before, `${snippet.at} ${path}`).toContain(path);
        }
    }
  });
});

describe('the guide to a URL shortener', () => {
  let home: TempFolder;
  let up: UpProcess;
  beforeAll(async () => {
    home = await tempFolder();
    up = await UpProcess.start(join(home.path, '.isoplane'));
  }, 120_000);
  afterAll(async () => {
    await up?.[Symbol.asyncDispose]();
    await home?.[Symbol.asyncDispose]();
  });

  test('makes what it promises', { timeout: 120_000 }, async ({ expect }) => {
    const folder = join(home.path, 'shortener');
    await mkdir(folder);
    const bin = await nodeFolder(home.path);
    const launcher = join(repositoryRoot, 'cli', 'bin.js');
    await writeFile(join(bin, 'npx'), `#!/bin/sh\nshift\nexec '${process.execPath}' '${launcher}' "$@"\n`);
    await chmod(join(bin, 'npx'), 0o755);
    const env = { PATH: `${bin}:/usr/bin:/bin`, HOME: home.path, NO_COLOR: '1' };
    const said = await follow(await guide('guide-shortener'), { folder, env, gatewayUrl: up.gatewayUrl });
    const { port } = new URL(up.gatewayUrl);
    expect(said[0]).toContain('created KV namespace links');
    expect(said[1]).toContain('accepts tokens of https://id.example.com');
    expect(said[1]).toContain('links version 1 is live');
    expect(said[2]).toContain(`{"url":"http://links.localhost:${port}/`);
    expect(said[2]).toContain('"metadata":{"by":"ada"}');
    expect(said[2]).toContain('token_missing');
    expect(said[2]).toContain('https://example.com/a/long/path');
    expect(said[3]).toContain('<title>Links</title>');
    expect(said[3]).toContain(`access-control-allow-origin: http://front.localhost:${port}`);
    expect(said).toHaveLength(4);
  });
});
