/** `isoplane dev` on the real miniflare and workerd. */
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { waitFor } from '#shared/testing/fakes.ts';
import { tempProject } from '../testing/temp-project.ts';
import { hooksNote, startDev, type DevEvent } from './dev-server.ts';

const config = (vars: string, extra = ''): string =>
  `{"name":"a","main":"src/index.ts","compatibilityDate":"2026-11-01","vars":${vars}${extra}}`;

async function start(path: string, layers: Readonly<Record<string, string>> = {}) {
  const events: DevEvent[] = [];
  const server = await startDev({
    target: path,
    port: 0,
    layersOf: async () =>
      Object.entries(layers).map(([name, text]) => ({
        name,
        type: 'esm',
        content: new TextEncoder().encode(text),
      })),
    onEvent: (event) => events.push(event),
  });
  return { server, events, get: async () => (await fetch(server.url)).text() };
}

test('dev says that it runs no hooks, when there are any', ({ expect }) => {
  expect(hooksNote({})).toBeUndefined();
  expect(hooksNote({ init: { timeoutMs: 1_000 } })).toBe('dev runs no hooks; configured here: init');
});

describe('startDev()', () => {
  test('serves with variables, layers and separate modules, and reloads on save of code and configuration', async ({
    expect,
  }) => {
    await using folder = await tempProject({
      'isoplane.jsonc': config('{"N":1}'),
      'src/index.ts':
        "import { g } from '/opt/greet.js'; import t from './t.txt'; export default { fetch: (_r: Request, env: { N: number }) => new Response(`${g} ${t} ${env.N}`) };",
      'src/t.txt': 'text',
    });
    const { server, get } = await start(folder.path, { 'opt/greet.js': "export const g = 'layer';" });
    try {
      expect(await get()).toBe('layer text 1');
      await writeFile(join(folder.path, 'src/t.txt'), 'changed');
      await waitFor('the new text', async () => (await get()) === 'layer changed 1');
      await writeFile(join(folder.path, 'isoplane.jsonc'), config('{"N":2}'));
      await waitFor('the new variable', async () => (await get()) === 'layer changed 2');
    } finally {
      await server.close();
    }
  });

  test('gives KV namespaces of its own, and says that service bindings need a deployment', async ({
    expect,
  }) => {
    await using folder = await tempProject({
      'isoplane.jsonc': config(
        '{}',
        ',"kv":[{"binding":"KV","namespace":"store"}],"services":[{"binding":"API","function":"api"}]',
      ),
      'src/index.ts': `export default { async fetch(_request: Request, env: any) {
        await env.KV.put('key', 'kept', { metadata: { a: 1 } });
        const answer = await env.API.fetch('http://api/');
        return Response.json([await env.KV.getWithMetadata('key'), answer.status, await answer.text()]);
      } };`,
    });
    const { server, get } = await start(folder.path);
    try {
      expect(JSON.parse(await get())).toMatchObject([
        { value: 'kept', metadata: { a: 1 } },
        501,
        expect.stringContaining('API (function api)'),
      ]);
    } finally {
      await server.close();
    }
  });

  test('keeps the last good code while a save does not build, and shows console lines and mapped exceptions', async ({
    expect,
  }) => {
    const good = "export default { fetch() { console.log('said'); throw new Error('boom'); } };";
    await using folder = await tempProject({ 'isoplane.jsonc': config('{}'), 'src/index.ts': `\n\n${good}` });
    const { server, events, get } = await start(folder.path);
    try {
      await get();
      const text = await waitFor('the exception', () => {
        const lines = events.flatMap((event) => (event.type === 'console' ? [event.text] : [])).join('\n');
        return lines.includes('boom') && lines.includes('said') ? lines : undefined;
      });
      expect(text).toContain('src/index.ts:3:');
      await writeFile(join(folder.path, 'src/index.ts'), 'const = ;');
      await waitFor('the failure', () => events.some((event) => event.type === 'failed'));
      expect((await fetch(server.url)).status).toBe(500);
      await writeFile(
        join(folder.path, 'src/index.ts'),
        "export default { fetch: () => new Response('fixed') };",
      );
      await waitFor('the fixed code', async () => (await get()) === 'fixed');
    } finally {
      await server.close();
    }
  });

  test('fetch obeys the rules of the project, and may reach this machine', async ({ expect }) => {
    const target = createServer((_request, response) => response.end('ok'));
    await new Promise<void>((resolve) => target.listen(0, '127.0.0.1', resolve));
    const { port } = target.address() as AddressInfo;
    await using folder = await tempProject({
      'isoplane.jsonc': config('{}', `,"egress":{"allow":["127.0.0.1:${port}"]}`),
      'src/index.ts': `const say = (url: string) => fetch(url).then((answer) => answer.text(), String);
        export default { fetch: async () => Response.json([await say('http://127.0.0.1:${port}/'), await say('http://127.0.0.1:1/')]) };`,
    });
    const { server, events, get } = await start(folder.path);
    try {
      const denied = 'egress_denied: the rules do not allow 127.0.0.1 at port 1';
      expect(JSON.parse(await get())).toEqual(['ok', `TypeError: ${denied}`]);
      expect(events).toContainEqual({ type: 'console', text: denied });
    } finally {
      await server.close();
      target.closeAllConnections();
      target.close();
    }
  });

  test('event functions get the JSON event; nothing leaves the machine', async ({ expect }) => {
    await using folder = await tempProject({
      'isoplane.jsonc': config('{}', ',"style":"event"'),
      'src/index.ts':
        "export const handler = async (event: { n: number }) => ({ n: event.n + 1, out: (await fetch('http://example.com/')).status });",
    });
    const { server } = await start(folder.path);
    try {
      const response = await fetch(server.url, { method: 'POST', body: '{"n":1}' });
      expect(await response.json()).toEqual({ n: 2, out: 403 });
    } finally {
      await server.close();
    }
  });
});
