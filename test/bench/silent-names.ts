/** A name server that answers for some names and leaves the others waiting, as a hostile zone's would. */
import { createSocket, type Socket } from 'node:dgram';

const LOOPBACK = [127, 0, 0, 1];
const TYPE_A = 1;

export class SilentNames implements Disposable {
  readonly #socket: Socket;
  readonly address: string;
  #silent = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.address = `127.0.0.1:${socket.address().port}`;
    socket.on('message', (question, from) => {
      // The first label says whose name it is.
      if (!question.toString('latin1', 13, 17).startsWith('good')) {
        this.#silent += 1;
        return;
      }
      socket.send(answerTo(question), from.port, from.address);
    });
  }

  static async open(): Promise<SilentNames> {
    const socket = createSocket('udp4');
    await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
    return new SilentNames(socket);
  }

  /** Questions that were left without an answer. */
  get silent(): number {
    return this.#silent;
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}

/** RFC 1035: the question again, and for an A record the loopback address with no time to live. */
function answerTo(question: Buffer): Buffer {
  const nameEnd = question.indexOf(0, 12);
  const type = question.readUInt16BE(nameEnd + 1);
  const head = Buffer.from(question.subarray(0, nameEnd + 5));
  head.writeUInt16BE(0x8180, 2);
  head.writeUInt16BE(type === TYPE_A ? 1 : 0, 6);
  head.writeUInt32BE(0, 8);
  if (type !== TYPE_A) return head;
  return Buffer.concat([head, Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, 0, 0, 4, ...LOOPBACK])]);
}
