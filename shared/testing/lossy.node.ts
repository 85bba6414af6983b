/** A TCP relay in front of a real server that loses what it is told to lose, as a network does. */
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

export class Lossy implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** What happens to the next bytes from a client. */
  #next: 'forward' | 'lose request' | 'lose answer' = 'forward';
  #refuses = false;
  /** Connections that were cut. */
  lost = 0;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(upstreamPort: number): Promise<Lossy> {
    const server = createServer();
    const lossy = new Lossy(server);
    server.on('connection', (client) => lossy.#relay(client, connect(upstreamPort, '127.0.0.1')));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return lossy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** The next bytes that a client sends do not arrive, and its connection ends. */
  loseNextRequest(): void {
    this.#next = 'lose request';
  }

  /** They do, but what is answered does not. */
  loseNextAnswer(): void {
    this.#next = 'lose answer';
  }

  /** Every connection ends at once, from now on. */
  refuse(): void {
    this.#refuses = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  accept(): void {
    this.#refuses = false;
  }

  #relay(client: Socket, upstream: Socket): void {
    const end = (): void => {
      client.destroy();
      upstream.destroy();
    };
    for (const socket of [client, upstream]) {
      this.#sockets.add(socket);
      socket.on('error', end).on('close', () => {
        this.#sockets.delete(socket);
        end();
      });
    }
    if (this.#refuses) return end();
    let losesAnswer = false;
    client.on('data', (bytes) => {
      const fate = this.#next;
      this.#next = 'forward';
      if (fate === 'lose request') {
        this.lost += 1;
        return end();
      }
      if (fate === 'lose answer') losesAnswer = true;
      upstream.write(bytes);
    });
    upstream.on('data', (bytes) => {
      if (!losesAnswer) return void client.write(bytes);
      this.lost += 1;
      end();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.refuse();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
