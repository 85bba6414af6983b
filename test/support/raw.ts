/** Bytes on the wire: requests that no well-behaved client can send, and measured keep-alive connections. */
import { connect, type Socket } from 'node:net';
import { ResponseParser, type ParsedResponse } from './response-parser.ts';

/** Sends `text` and collects what comes until the peer closes or is silent for `quietMs`. */
export function rawExchange(url: string, text: string | Uint8Array, quietMs = 1_000): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const received: Buffer[] = [];
    const socket = connect(Number(port), hostname, () => socket.write(text));
    const finish = (): void => {
      socket.destroy();
      resolve(Buffer.concat(received).toString('utf8'));
    };
    socket.setTimeout(quietMs, finish);
    socket.on('data', (chunk) => received.push(chunk));
    socket.on('close', finish);
    socket.on('error', (error: NodeJS.ErrnoException) => {
      // A server may reset the connection after its refusal; what it said still counts.
      if (received.length > 0 || error.code === 'ECONNRESET' || error.code === 'EPIPE') finish();
      else reject(error);
    });
  });
}

/** A keep-alive connection with one request at a time. */
export class RawConnection implements Disposable {
  readonly #socket: Socket;
  #waiting: { resolve: (response: ParsedResponse) => void; reject: (error: Error) => void } | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    const parser = new ResponseParser((response) => {
      const waiting = this.#waiting;
      this.#waiting = undefined;
      waiting?.resolve(response);
    });
    const fail = (error: Error): void => {
      const waiting = this.#waiting;
      this.#waiting = undefined;
      waiting?.reject(error);
      socket.destroy();
    };
    socket.on('data', (chunk) => {
      try {
        parser.push(chunk);
      } catch (thrown) {
        fail(thrown as Error);
      }
    });
    socket.on('error', fail);
    socket.on('close', () => fail(new Error('the connection was closed')));
  }

  static open(url: string): Promise<RawConnection> {
    const { hostname, port } = new URL(url);
    return new Promise((resolve, reject) => {
      const socket = connect(Number(port), hostname);
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(new RawConnection(socket));
      });
    });
  }

  /** Port of this end, by which the serving process can be found. */
  get localPort(): number {
    return this.#socket.localPort ?? 0;
  }

  send(request: string | Uint8Array): Promise<ParsedResponse> {
    return new Promise((resolve, reject) => {
      if (this.#waiting !== undefined) {
        reject(new Error('a request is already under way on this connection'));
        return;
      }
      this.#waiting = { resolve, reject };
      this.#socket.write(request);
    });
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}

/** `GET path` for a host, as bytes. */
export function getRequest(host: string, path = '/', headers: Readonly<Record<string, string>> = {}): Buffer {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.from(`GET ${path} HTTP/1.1\r\nhost: ${host}\r\n${lines.join('')}\r\n`, 'latin1');
}
