import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { functionNameSchema } from '#shared/ids.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { InspectorProxy } from './inspector.ts';

/** Speaks as the inspector of workerd does to whoever connects: one script, without a map. */
async function instance(): Promise<AsyncDisposable & { readonly port: number }> {
  const server = createServer((_, response) =>
    response.end(JSON.stringify([{ id: 'main', webSocketDebuggerUrl: `ws://127.0.0.1:${port()}/main` }])),
  );
  const port = (): number => (server.address() as AddressInfo).port;
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket) =>
    socket.send(JSON.stringify({ method: 'Debugger.scriptParsed', params: { url: 'file:///index.js' } })),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: port(),
    [Symbol.asyncDispose]: async () => {
      for (const client of sockets.clients) client.terminate();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** The maps of the scripts that a debugger has been told of. */
function mapsSeenBy(url: string, name: string): { readonly maps: string[] } & Disposable {
  const maps: string[] = [];
  const socket = new WebSocket(`${url.replace('http:', 'ws:')}/${name}`);
  socket.on('message', (data) => {
    const { method, params } = JSON.parse((data as Buffer).toString('utf8')) as {
      method: string;
      params: { sourceMapURL?: string };
    };
    if (method !== 'Debugger.scriptParsed') return;
    maps.push(Buffer.from(params.sourceMapURL?.split(',')[1] ?? '', 'base64').toString('utf8'));
  });
  return { maps, [Symbol.dispose]: () => socket.terminate() };
}

const name = functionNameSchema.parse('a');
const published = (version: number): Parameters<InspectorProxy['published']>[0] => ({
  name,
  version,
  sourceMap: Buffer.from(`map of ${version}`),
});

describe('the proxy of debuggers', () => {
  test('shows each version with its own map, whichever of instance and version is told first', async ({
    expect,
    onTestFinished,
  }) => {
    await using first = await instance();
    await using second = await instance();
    const proxy = await InspectorProxy.open(0);
    onTestFinished(() => proxy.close());
    proxy.published(published(1));
    proxy.attach({ event: 'dev-inspectable', functionName: name, version: 1, port: first.port });
    using seen = mapsSeenBy(proxy.url, name);
    await waitFor('the first version', () => seen.maps.length === 1);
    // An instance may start before the publish of its version has been answered.
    proxy.attach({ event: 'dev-inspectable', functionName: name, version: 2, port: second.port });
    proxy.published(published(2));
    await waitFor('the second version', () => seen.maps.length === 2);
    expect(seen.maps).toEqual(['map of 1', 'map of 2']);
  });

  test('refuses pages and names that it does not know, whatever they ask for, and goes on', async ({
    expect,
    onTestFinished,
  }) => {
    const proxy = await InspectorProxy.open(0);
    onTestFinished(() => proxy.close());
    proxy.published(published(1));
    const answer = (path: string, origin?: string): Promise<number | undefined> =>
      new Promise((resolve) => {
        const socket = new WebSocket(`${proxy.url.replace('http:', 'ws:')}/`, {
          ...(origin === undefined ? {} : { origin }),
          finishRequest: (request) => {
            request.path = path;
            request.end();
          },
        });
        socket.on('unexpected-response', (_, { statusCode }) => resolve(statusCode));
        socket.on('open', () => resolve(101));
        socket.on('error', () => undefined);
      });
    for (const path of ['/%', '/%zz', '/%ff', '/unknown', '/'])
      for (const origin of [undefined, 'https://evil.example'])
        expect([path, await answer(path, origin)]).toEqual([path, 403]);
    expect(await answer('/a', 'https://evil.example')).toBe(403);
    expect(await answer('/a')).toBe(101);
  });
});
