/** What every {@link UpstreamClient} must do, against real servers on Unix sockets. */
/* oxlint-disable max-lines-per-function -- one suite, whichever the implementation */
import { addressAt } from '../contracts/address.ts';
import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { createServer as createNetServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, test } from 'vitest';
import { standStill, waitFor } from '../testing/fakes.ts';
import { tempFolder, type TempFolder } from '../testing/temp.node.ts';
import type {
  UpstreamClient,
  UpstreamExchange,
  UpstreamFailure,
  UpstreamHandler,
  UpstreamRequest,
} from './upstream.ts';

interface Recorded {
  status: number;
  headers: Record<string, string>;
  body: string;
  end: 'open' | 'end' | UpstreamFailure;
  ready: number;
  drains: number;
}

interface Recording {
  readonly recorded: Recorded;
  readonly handler: UpstreamHandler;
}

function record(
  options: { onData?: () => boolean; onReady?: () => void; onDrain?: () => void } = {},
): Recording {
  const recorded: Recorded = { status: 0, headers: {}, body: '', end: 'open', ready: 0, drains: 0 };
  return {
    recorded,
    handler: {
      onReady: () => {
        recorded.ready += 1;
        options.onReady?.();
      },
      onDrain: () => {
        recorded.drains += 1;
        options.onDrain?.();
      },
      onHead: (status, _reason, headers) => {
        recorded.status = status;
        for (let index = 0; index < headers.length; index += 2)
          recorded.headers[(headers[index] ?? '').toLowerCase()] = headers[index + 1] ?? '';
      },
      onData: (chunk) => {
        recorded.body += chunk.toString('latin1');
        return options.onData?.() ?? true;
      },
      onEnd: () => {
        recorded.end = 'end';
      },
      onFailure: (failure) => {
        recorded.end = failure;
      },
    },
  };
}

export function upstreamSuite(name: string, create: () => UpstreamClient): void {
  describe(`${name} as an upstream client`, () => {
    let folder: TempFolder | undefined;
    let server: Server | undefined;
    const sockets = new Set<Socket>();
    let client: UpstreamClient = create();
    const listen = async (made: Server): Promise<string> => {
      folder = await tempFolder();
      client = create();
      server = made;
      const path = join(folder.path, 's');
      made.on('connection', (socket: Socket) => sockets.add(socket));
      await new Promise<void>((resolve) => made.listen(path, resolve));
      return path;
    };
    const http = (listener: RequestListener): Promise<string> => listen(createHttpServer(listener));
    /** Answers each connection's first bytes with `text`, then ends the connection when `then` says so. */
    const raw = (text: string, then: 'end' | 'keep' = 'end'): Promise<string> =>
      listen(
        createNetServer((socket) => {
          socket.on('error', () => undefined);
          socket.once('data', () => {
            socket.write(text, 'latin1');
            if (then === 'end') socket.end();
          });
        }),
      );
    const send = (
      socketPath: string,
      parts: Partial<UpstreamRequest> = {},
      options: Parameters<typeof record>[0] = {},
    ): Recording & { exchange: UpstreamExchange } => {
      const recording = record(options);
      const exchange = client.send(
        {
          address: addressAt(socketPath),
          method: 'GET',
          target: '/',
          headers: ['host', 'hello.localhost'],
          bodyBytes: 0,
          ...parts,
        },
        recording.handler,
      );
      return { ...recording, exchange };
    };
    const over = (recorded: Recorded): Promise<boolean> => waitFor('the end', () => recorded.end !== 'open');

    afterEach(async () => {
      await client.close();
      for (const socket of sockets) socket.destroy();
      sockets.clear();
      await new Promise<void>((resolve) =>
        server === undefined ? resolve() : server.close(() => resolve()),
      );
      server = undefined;
      await folder?.[Symbol.asyncDispose]();
    });

    test('passes target, headers and host, and reuses the connection', async ({ expect }) => {
      const path = await http((request, response) => {
        const { host, 'x-a': a } = request.headers;
        response.end(Buffer.from(`${request.method} ${request.url} ${host} ${String(a)}`));
      });
      for (let round = 0; round < 3; round += 1) {
        const { recorded } = send(path, {
          target: '/a?b=c',
          headers: ['host', 'hello.localhost', 'x-a', 'ä'],
        });
        await over(recorded);
        expect([recorded.status, recorded.end]).toEqual([200, 'end']);
        expect(Buffer.from(recorded.body, 'latin1').toString()).toBe('GET /a?b=c hello.localhost ä');
      }
      expect(sockets.size).toBe(1);
    });

    test.for([
      ['a known length', 6],
      ['chunks', undefined],
    ] as const)('sends a body of %s', async ([, bodyBytes], { expect }) => {
      const path = await http((request, response) => void request.pipe(response));
      let exchange: UpstreamExchange | undefined;
      const sent = send(
        path,
        { method: 'POST', bodyBytes },
        {
          onReady: () => {
            exchange?.write(Buffer.from('abc'));
            exchange?.write(Buffer.from('def'));
            exchange?.end();
          },
        },
      );
      exchange = sent.exchange;
      await over(sent.recorded);
      expect([sent.recorded.ready, sent.recorded.status, sent.recorded.body]).toEqual([1, 200, 'abcdef']);
    });

    test('sends the head with a body that is there, so that an answer without reading it is not lost', async ({
      expect,
    }) => {
      // As workerd does: who was answered before its body came loses the connection.
      const path = await listen(
        createNetServer((socket) => {
          socket.on('error', () => undefined);
          socket.on('data', (bytes) => {
            const whole = bytes.includes('body');
            socket.write(`HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n${whole ? 'whole' : 'apart'}`);
            if (!whole) socket.destroy();
          });
        }),
      );
      for (let round = 0; round < 3; round += 1) {
        let exchange: UpstreamExchange | undefined;
        const onReady = (): void =>
          process.nextTick(() => {
            exchange?.write(Buffer.from('body'));
            exchange?.end();
          });
        const sent = send(path, { method: 'POST', bodyBytes: 4 }, { onReady });
        exchange = sent.exchange;
        await over(sent.recorded);
        expect([sent.recorded.end, sent.recorded.body]).toEqual(['end', 'whole']);
      }
      expect(sockets.size).toBe(1);
    });

    test('holds the body back until the instance reads', async ({ expect }) => {
      let readNow = (): void => undefined;
      const path = await http((request, response) => {
        readNow = () => {
          request.resume();
          request.on('end', () => response.end('read'));
        };
      });
      const chunk = Buffer.alloc(256 * 1024);
      let left = 64;
      let written = 0;
      let exchange: UpstreamExchange | undefined;
      const pump = (): void => {
        while (left > 0) {
          left -= 1;
          written += 1;
          if (exchange?.write(chunk) === false) return;
        }
        exchange?.end();
      };
      const sent = send(
        path,
        { method: 'POST', bodyBytes: left * chunk.byteLength },
        { onReady: pump, onDrain: pump },
      );
      exchange = sent.exchange;
      await standStill('the writes', () => written);
      expect(written).toBeLessThan(32);
      readNow();
      await over(sent.recorded);
      expect([sent.recorded.body, written]).toEqual(['read', 64]);
    });

    test.for([
      ['small', 5],
      ['as large as the socket holds', 100_000],
    ] as const)('reads a %s answer that came before its writes failed', async ([, bytes], { expect }) => {
      let exchange: UpstreamExchange | undefined;
      let writesFail = (): void => undefined;
      const path = await listen(
        createNetServer((socket) =>
          socket.once('data', () => {
            socket.write(`HTTP/1.1 413 Too Large\r\ncontent-length: ${bytes}\r\n\r\n${'x'.repeat(bytes)}`);
            socket.destroy();
            // Both in one turn of the loop: the client has not read when it writes.
            writesFail();
          }),
        ),
      );
      const sent = send(path, { method: 'POST', bodyBytes: 200_000 });
      exchange = sent.exchange;
      writesFail = () => {
        for (let index = 0; index < 100; index += 1) exchange?.write(Buffer.alloc(1_000));
        exchange?.end();
      };
      await over(sent.recorded);
      expect([sent.recorded.status, sent.recorded.body.length, sent.recorded.end]).toEqual([
        413,
        bytes,
        'end',
      ]);
    });

    test('reports a connection whose writes fail before any answer', async ({ expect }) => {
      let exchange: UpstreamExchange | undefined;
      const path = await listen(
        createNetServer((socket) =>
          socket.once('data', () => {
            socket.destroy();
            exchange?.write(Buffer.alloc(1_000));
          }),
        ),
      );
      const sent = send(path, { method: 'POST', bodyBytes: 200_000 });
      exchange = sent.exchange;
      await over(sent.recorded);
      expect([sent.recorded.status, sent.recorded.end]).toEqual([0, 'reset']);
    });

    test('stops reading when told to, and goes on after resume', async ({ expect }) => {
      const path = await http((_request, response) => response.end(Buffer.alloc(4_000_000, 97)));
      let paused = true;
      const { recorded, exchange } = send(path, {}, { onData: () => !paused });
      await waitFor('the first chunk', () => recorded.body.length > 0);
      const early = recorded.body.length;
      await standStill('what was read', () => recorded.body.length);
      expect(recorded.body.length).toBe(early);
      paused = false;
      exchange.resume();
      await over(recorded);
      expect([recorded.end, recorded.body.length]).toEqual(['end', 4_000_000]);
    });

    test.for([
      ['a length', 'HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc', 'abc'],
      [
        'chunks',
        'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nt: v\r\n\r\n',
        'abc',
      ],
      ['the end of the connection', 'HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabc', 'abc'],
      [
        'an interim response first',
        'HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx',
        'x',
      ],
      ['no body at all', 'HTTP/1.1 204 No Content\r\n\r\n', ''],
    ] as const)('reads a response framed by %s', async ([, text, body], { expect }) => {
      const { recorded } = send(await raw(text));
      await over(recorded);
      expect([recorded.end, recorded.body]).toEqual(['end', body]);
    });

    test('expects no body after HEAD', async ({ expect }) => {
      const path = await http((_request, response) => response.setHeader('content-length', 5).end());
      const { recorded } = send(path, { method: 'HEAD' });
      await over(recorded);
      expect([recorded.end, recorded.headers['content-length'], recorded.body]).toEqual(['end', '5', '']);
    });

    test.for([
      ['two lengths', 'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab'],
      [
        'a length and chunks',
        'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
      ],
      ['no status line', 'hello\r\n\r\n'],
      ['a bad chunk size', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n'],
    ] as const)('refuses a response with %s', async ([, text], { expect }) => {
      const { recorded } = send(await raw(text));
      await over(recorded);
      expect(recorded.end).toBe('malformed');
    });

    test.for([
      ['before the head', '', 0],
      ['within the head', 'HTTP/1.1 200 OK\r\ncont', 0],
      ['within the body', 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc', 200],
      ['within the chunks', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab', 200],
    ] as const)('reports a connection that ends %s', async ([, text, status], { expect }) => {
      const { recorded } = send(await raw(text));
      await over(recorded);
      expect([recorded.status, recorded.end]).toEqual([status, 'reset']);
    });

    test('reports an instance that does not listen as unreachable', async ({ expect }) => {
      const { recorded } = send('/nonexistent/s', { method: 'POST', bodyBytes: undefined });
      await over(recorded);
      expect([recorded.end, recorded.ready]).toEqual(['unreachable', 0]);
    });

    test('closes the connection on abort and says nothing more', async ({ expect }) => {
      let closed = false;
      const path = await http((request) => void request.on('close', () => (closed = true)));
      const { recorded, exchange } = send(path);
      await waitFor('the request', () => sockets.size === 1);
      exchange.abort();
      await waitFor('the server to notice', () => closed || [...sockets].every((socket) => socket.destroyed));
      expect(recorded.end).toBe('open');
    });

    test('gives no connection with an unfinished request to another one', async ({ expect }) => {
      const path = await http((_request, response) => response.end('early'));
      const first = send(path, { method: 'POST', bodyBytes: 100 });
      await over(first.recorded);
      expect(first.recorded.body).toBe('early');
      const second = send(path);
      await over(second.recorded);
      expect([second.recorded.body, sockets.size]).toEqual(['early', 2]);
    });
  });
}
