/** Memory of a Node process after a full collection: what it keeps, without what it has not collected yet. */
import { z } from 'zod';

const answerSchema = z.object({
  id: z.number(),
  result: z.object({ result: z.object({ value: z.string() }).optional() }),
});
const memorySchema = z.object({ rss: z.number(), heapUsed: z.number() });
const MIB = 1_048_576;

export interface Collected {
  readonly rssMb: number;
  readonly heapMb: number;
}

export class Collector implements Disposable {
  readonly #socket: WebSocket;
  #last = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
  }

  /** @param url - of the process' debugger. */
  static async open(url: string): Promise<Collector> {
    const socket = new WebSocket(url);
    await new Promise((resolve, reject) => {
      socket.addEventListener('open', resolve, { once: true });
      socket.addEventListener('error', () => reject(new Error(`no debugger at ${url}`)), { once: true });
    });
    return new Collector(socket);
  }

  async collect(): Promise<Collected> {
    // What only a finalizer held goes with the second.
    await this.#call('HeapProfiler.collectGarbage', {});
    await this.#call('HeapProfiler.collectGarbage', {});
    const told = await this.#call('Runtime.evaluate', {
      expression: 'JSON.stringify(process.memoryUsage())',
    });
    const { rss, heapUsed } = memorySchema.parse(JSON.parse(told ?? ''));
    return { rssMb: rss / MIB, heapMb: heapUsed / MIB };
  }

  #call(method: string, params: Readonly<Record<string, unknown>>): Promise<string | undefined> {
    this.#last += 1;
    const id = this.#last;
    return new Promise((resolve) => {
      const hear = ({ data }: MessageEvent): void => {
        const answer = answerSchema.safeParse(JSON.parse(String(data))).data;
        if (answer?.id !== id) return;
        this.#socket.removeEventListener('message', hear);
        resolve(answer.result.result?.value);
      };
      this.#socket.addEventListener('message', hear);
      this.#socket.send(JSON.stringify({ id, method, params }));
    });
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}
