/** The proxy of one instance, spoken to byte by byte as no well-behaved workerd would. */
import { stat } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { egressRulesSchema } from '#shared/contracts/egress.ts';
import { versionIdSchema } from '#shared/ids.ts';
import { systemClock, systemTimers } from '#shared/runtime/clock.ts';
import { memoryLog, standStill, waitFor } from '#shared/testing/fakes.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { listenAt } from '../listen.ts';
import { httpTarget, tcpTarget, type Target } from '../../testing/targets.ts';
import { EgressHost, type EgressHostOptions } from './host.ts';
import type { EgressTerms } from './kind.ts';
import type { NameAnswer } from './names.ts';

interface ProxyOptions {
  readonly rules?: object;
  readonly limits?: Partial<EgressTerms['limits']>;
  readonly resolve?: EgressHostOptions['resolve'];
  readonly connectionsMax?: number;
  readonly connectMsMax?: number;
}

interface Proxy extends AsyncDisposable {
  readonly host: EgressHost;
  readonly socketPath: string;
  /** Sends bytes and reads until the proxy closes, or has said `until`. */
  say(text: string, until?: string): Promise<string>;
}

async function proxy(options: ProxyOptions = {}): Promise<Proxy> {
  const folder = await tempFolder();
  const socketPath = join(folder.path, 'e.sock');
  const host = new EgressHost({
    settings: { allowPrivate: ['127.0.0.0/8'], dnsServers: [], extraCa: undefined, nodeKeyFile: '/nowhere' },
    clock: systemClock,
    timers: systemTimers,
    log: memoryLog(),
    refused: () => undefined,
    ...(options.connectionsMax === undefined ? {} : { connectionsMax: options.connectionsMax }),
    ...(options.connectMsMax === undefined ? {} : { connectMsMax: options.connectMsMax }),
    resolve: options.resolve ?? (() => Promise.resolve({ addresses: ['127.0.0.1'], ttlS: 60 })),
  });
  const socket = {
    path: socketPath,
    owner: undefined,
    instanceId: 'i1',
    target: {
      versionId: versionIdSchema.parse('default/hello@1'),
      rules: egressRulesSchema.parse({ allow: ['*:*'], ...options.rules }),
      limits: { subrequests: 100, connections: 10, timeoutMs: 5_000, streamIdleMs: 5_000, ...options.limits },
    },
  };
  await listenAt(host.serve(socket), socket);
  return {
    host,
    socketPath,
    async say(text, until) {
      const socket = connect(socketPath);
      let heard = '';
      socket.setEncoding('latin1').on('data', (chunk: string) => (heard += chunk));
      // A reset counts as an end: what was heard until then is the answer.
      socket.on('error', () => undefined);
      const closed = new Promise((resolve) => socket.once('close', resolve));
      socket.write(text, 'latin1');
      if (until !== undefined)
        await Promise.race([closed, waitFor(`the proxy to say ${until}`, () => heard.includes(until))]);
      else await closed;
      socket.destroy();
      return heard;
    },
    async [Symbol.asyncDispose]() {
      await host.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

const echo = (): Promise<Target> =>
  httpTarget((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () =>
      response.end(
        JSON.stringify({
          method: request.method,
          url: request.url,
          raw: request.rawHeaders,
          body: String(Buffer.concat(chunks)),
        }),
      ),
    );
  });

test('the socket is for its user alone', async ({ expect }) => {
  await using p = await proxy();
  expect((await stat(p.socketPath)).mode & 0o777).toBe(0o600);
});

describe('requests that would be read in two ways', () => {
  test.for([
    ['two framings', 'Content-Length: 3\r\nTransfer-Encoding: chunked\r\n'],
    ['two lengths', 'Content-Length: 3\r\nContent-Length: 4\r\n'],
    ['a length that is none', 'Content-Length: +3\r\n'],
    ['an unknown coding', 'Transfer-Encoding: chunked, identity\r\n'],
    ['a space before the colon', 'Transfer-Encoding : chunked\r\n'],
    ['a folded line', 'X-A: 1\r\n Transfer-Encoding: chunked\r\n'],
    ['a bare line feed', 'X-A: 1\nTransfer-Encoding: chunked\r\n'],
    ['a null byte', 'X-A: a\0b\r\n'],
  ])('%s never reach the target', async ([, lines], { expect }) => {
    await using target = await echo();
    await using p = await proxy();
    const answer = await p.say(
      `POST http://a.b:${target.port}/ HTTP/1.1\r\n${lines}Connection: close\r\n\r\nabc`,
    );
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    expect(target.accepted()).toBe(0);
  });
});

describe('requests that are refused', () => {
  test.for([
    ['a relative target', 'GET /latest HTTP/1.1\r\nHost: a.b', 403],
    ['another scheme', 'GET ftp://a.b/ HTTP/1.1', 403],
    ['credentials in the URL', 'GET http://u:p@a.b/ HTTP/1.1', 403],
    ['TRACE', 'TRACE http://a.b/ HTTP/1.1', 403],
    [
      'an upgrade to HTTP/2',
      'GET http://a.b/ HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c',
      403,
    ],
    [
      'an upgrade with a method',
      'POST http://a.b/ HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket',
      403,
    ],
    ['a denied host', 'GET http://denied.com/ HTTP/1.1', 403],
    ['CONNECT to a denied host', 'CONNECT denied.com:443 HTTP/1.1', 403],
    ['CONNECT without a port', 'CONNECT a.b HTTP/1.1', 403],
    ['CONNECT to a URL', 'CONNECT http://a.b:80/ HTTP/1.1', 403],
    ['a private address', 'GET http://10.0.0.1/ HTTP/1.1', 403],
    ['a private address in hexadecimal', 'GET http://0xa9fea9fe/ HTTP/1.1', 403],
    ['a mapped address', 'CONNECT [::ffff:169.254.169.254]:80 HTTP/1.1', 403],
  ] as const)('%s', async ([, head, status], { expect }) => {
    await using p = await proxy({ rules: { deny: ['denied.com'] } });
    const answer = await p.say(
      `${head}\r\nConnection: close\r\n\r\n`.replace(
        '\r\nConnection: close',
        head.includes('Upgrade') ? '' : '\r\nConnection: close',
      ),
    );
    expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(answer).toContain('isoplane-egress-error: egress_denied');
  });

  test('headers that are too large are refused', async ({ expect }) => {
    await using p = await proxy();
    const answer = await p.say(`GET http://a.b/ HTTP/1.1\r\nX: ${'x'.repeat(100_000)}\r\n\r\n`);
    // The rest of what was sent may reset the connection before the answer is read.
    expect(answer).toMatch(/^(?:HTTP\/1\.1 403 [^]*egress_denied|$)/);
    expect(p.host.open).toBe(0);
  });
});

test('a body of unknown length is passed on in chunks, with one Host and nothing hop-by-hop', async ({
  expect,
}) => {
  await using target = await echo();
  await using p = await proxy();
  const answer = await p.say(
    `POST http://A.b.:${target.port}/x?y=1 HTTP/1.1\r\nHost: evil\r\nTransfer-Encoding: chunked\r\n` +
      'Connection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nisoplane-request-id: r1\r\nX-Own: 2\r\n\r\n3\r\nabc\r\n0\r\n\r\n',
  );
  const seen = JSON.parse(answer.slice(answer.indexOf('{'), answer.lastIndexOf('}') + 1)) as Record<
    string,
    unknown
  >;
  expect(seen).toMatchObject({ method: 'POST', url: '/x?y=1', body: 'abc' });
  const names = (seen['raw'] as string[])
    .filter((_, index) => index % 2 === 0)
    .map((name) => name.toLowerCase());
  expect(names.sort()).toEqual(['connection', 'host', 'transfer-encoding', 'x-own']);
  expect(seen['raw']).toContain(`a.b:${target.port}`);
});

test('a target that speaks no HTTP, or too many headers, is an error that names it', async ({ expect }) => {
  for (const words of ['SSH-2.0-x\r\n\r\n', `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(100_000)}\r\n\r\n`]) {
    await using target = await tcpTarget((socket) => socket.end(words));
    await using p = await proxy();
    const answer = await p.say(`GET http://a.b:${target.port}/ HTTP/1.1\r\nConnection: close\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1\.1 502 /);
    expect(answer).toContain('isoplane-egress-error: egress_failed');
  }
});

test('a secret that cannot be had keeps the request at home', async ({ expect }) => {
  await using target = await echo();
  await using p = await proxy({
    rules: { headers: [{ host: `a.b:${target.port}`, header: 'x-key', secret: 'key' }] },
  });
  p.host.state([{ key: 'default/key', value: 'v1.broken' }]);
  const answer = await p.say(`GET http://a.b:${target.port}/ HTTP/1.1\r\nConnection: close\r\n\r\n`);
  expect(answer).toContain('the secret key is not available');
  expect(target.accepted()).toBe(0);
});

test('a name with several addresses is reached at one that answers', async ({ expect }) => {
  await using target = await echo();
  await using p = await proxy({
    resolve: () => Promise.resolve({ addresses: ['127.0.0.2', '127.0.0.1'], ttlS: 60 }),
  });
  const answer = await p.say(`GET http://a.b:${target.port}/ HTTP/1.1\r\nConnection: close\r\n\r\n`);
  expect(answer).toMatch(/^HTTP\/1\.1 200 /);
});

test('a target that never finishes its TLS handshake, and a name that takes too long, are given up', async ({
  expect,
}) => {
  await using target = await tcpTarget((socket) => void socket.resume().once('end', () => socket.end()));
  await using p = await proxy({ connectMsMax: 150 });
  const one = (host: string): string =>
    `GET https://${host}:${target.port}/ HTTP/1.1\r\nConnection: close\r\n\r\n`;
  expect(await p.say(one('a.b'))).toContain('isoplane-egress-error: egress_timeout');
  await waitFor('nothing to be open', () => target.sockets.size === 0 && p.host.open === 0);
  const late = Promise.withResolvers<NameAnswer>();
  await using slow = await proxy({ connectMsMax: 150, resolve: () => late.promise });
  expect(await slow.say(one('slow.b'))).toContain('isoplane-egress-error: egress_timeout');
  late.resolve({ addresses: ['127.0.0.1'], ttlS: 60 });
  expect(await slow.say(one('10.0.0.1'))).toContain('egress_denied');
  expect([target.accepted(), slow.host.open]).toEqual([1, 0]);
});

test('a function that stops in the middle of its upload is given up', async ({ expect }) => {
  await using target = await echo();
  await using p = await proxy({ limits: { streamIdleMs: 150 } });
  const answer = await p.say(
    `POST http://a.b:${target.port}/ HTTP/1.1\r\nContent-Length: 10\r\nConnection: close\r\n\r\nabc`,
  );
  expect(answer).toContain('isoplane-egress-error: egress_timeout');
  await waitFor('the connection to be gone', () => target.sockets.size === 0);
});

test('a function that does not read holds the target back, and the proxy keeps little', async ({
  expect,
}) => {
  let sent = 0;
  let stuck = false;
  await using target = await httpTarget((_request, response) => {
    const chunk = Buffer.alloc(65_536);
    const more = (): void => {
      while (!response.destroyed) {
        sent += chunk.byteLength;
        if (!response.write(chunk)) {
          stuck = true;
          response.once('drain', () => {
            stuck = false;
            more();
          });
          return;
        }
      }
    };
    more();
  });
  await using p = await proxy();
  const socket = connect(p.socketPath);
  socket.pause();
  socket.write(`GET http://a.b:${target.port}/ HTTP/1.1\r\n\r\n`);
  await standStill(
    'the target',
    () => sent,
    () => stuck,
  );
  // Buffers of the kernel on three sockets, and two of Node's.
  expect(sent).toBeLessThan(32 * 1_048_576);
  socket.destroy();
  await waitFor('the target to be left alone', () => target.sockets.size === 0);
});

test('a silent tunnel is closed', async ({ expect }) => {
  await using target = await tcpTarget(() => undefined);
  await using p = await proxy({ limits: { streamIdleMs: 100 } });
  expect(await p.say(`CONNECT a.b:${target.port} HTTP/1.1\r\n\r\n`)).toMatch(/^HTTP\/1\.1 200 /);
  await waitFor('the connection to be counted no more', () => p.host.open === 0);
});

test('a function that goes away in the middle takes its connection with it', async ({ expect }) => {
  await using target = await httpTarget((_request, response) => void response.writeHead(200).write('start'));
  await using p = await proxy();
  await p.say(`GET http://a.b:${target.port}/ HTTP/1.1\r\n\r\n`, 'start');
  await waitFor('the target to be left alone', () => target.sockets.size === 0 && p.host.open === 0);
  expect(target.accepted()).toBe(1);
});

test('all instances together have the share of the account in connections, and failed ones give theirs back', async ({
  expect,
}) => {
  await using target = await httpTarget(() => undefined);
  await using p = await proxy({ connectionsMax: 4 });
  const one = (port: number): string => `GET http://a.b:${port}/ HTTP/1.1\r\nConnection: close\r\n\r\n`;
  const unused = await tcpTarget(() => undefined);
  await unused[Symbol.asyncDispose]();
  for (let count = 0; count < 5; count += 1)
    expect(await p.say(one(unused.port))).toContain('isoplane-egress-error: egress_failed');
  const held = [p.say(one(target.port)), p.say(one(target.port))];
  await waitFor('two connections', () => target.sockets.size === 2);
  expect(await p.say(one(target.port))).toContain('isoplane-egress-error: connections_exceeded');
  for (const socket of target.sockets) socket.destroy();
  await Promise.all(held);
  const again = p.say(one(target.port));
  await waitFor('room for one more', () => target.accepted() === 3);
  for (const socket of target.sockets) socket.destroy();
  await again;
});

test('usage is counted for the function, both ways, also that of an instance which is gone', async ({
  expect,
}) => {
  await using target = await echo();
  await using p = await proxy();
  const before = `POST http://a.b:${target.port}/ HTTP/1.1\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello`;
  const body = (await p.say(before)).split('\r\n\r\n')[1] ?? '';
  p.host.detached('i1');
  const [used, ...others] = p.host.usage();
  expect(others).toEqual([]);
  expect(used).toMatchObject({ account: 'default', function: 'hello', amounts: { egressRequests: 1 } });
  expect(used?.amounts.egressBytes).toBeGreaterThanOrEqual(5 + body.length - 20);
  expect(p.host.usage()).toEqual([]);
});

test('10,000 requests leave no connection behind', async ({ expect }) => {
  await using target = await httpTarget((_request, response) => response.end('ok'));
  await using p = await proxy({ limits: { subrequests: 100_000 } });
  const agent = new Agent({ keepAlive: true, maxSockets: 10 });
  const ask = (): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      const options = { socketPath: p.socketPath, path: `http://a.b:${target.port}/`, agent };
      request(options, (answer) => answer.resume().once('end', () => resolve(answer.statusCode)))
        .once('error', reject)
        .end();
    });
  const worker = async (): Promise<void> => {
    for (let count = 0; count < 1_000; count += 1) expect(await ask()).toBe(200);
  };
  await Promise.all(Array.from({ length: 10 }, worker));
  agent.destroy();
  expect(target.sockets.size).toBeLessThanOrEqual(10);
  p.host.detached('i1');
  await waitFor('all connections to be closed', () => target.sockets.size === 0);
  expect(p.host.open).toBe(0);
});
