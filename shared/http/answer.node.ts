/** Answers that a server writes itself: to a response object, or to the bare connection where there is none. */
import { STATUS_CODES, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { problemResponse, type PlatformError } from '../errors.ts';

/** A body that was refused is read for a while, so that the client reads the refusal and not a reset. */
const DRAIN_MS_MAX = 500;
const DRAIN_BYTES_MAX = 64 * 1024 * 1024;

/** Status line and headers as text, for latin1. Values come from parsed messages, so they hold no line breaks. */
export function headText(status: number, reason: string, headers: readonly string[]): string {
  let text = `HTTP/1.1 ${status} ${reason}\r\n`;
  for (let index = 0; index < headers.length; index += 2)
    text += `${headers[index] ?? ''}: ${headers[index + 1] ?? ''}\r\n`;
  return `${text}\r\n`;
}

/** A refusal below HTTP's usual course: the connection ends with it. */
export function refuseOn(socket: Duplex, error: PlatformError, requestId: string): void {
  void answerOn(socket, problemResponse(error, requestId));
}

/** Node keeps the response under way on its socket, and does so for clientError handlers. */
export function responseOn(socket: Duplex): ServerResponse | undefined {
  const message: unknown = '_httpMessage' in socket ? socket._httpMessage : undefined;
  return typeof message === 'object' && message !== null ? (message as ServerResponse) : undefined;
}

export async function answerOn(socket: Duplex, response: Response): Promise<void> {
  const body = Buffer.from(await response.arrayBuffer());
  const begun = responseOn(socket);
  // Meanwhile another answer has begun, which a refusal cannot follow: the connection ends with it.
  if (begun?.headersSent === true) return void begun.once('close', () => socket.destroy());
  if (!socket.writable) return void socket.destroy();
  const headers = [...response.headers].filter(([name]) => name !== 'connection').flat();
  const own = ['content-length', String(body.byteLength), 'connection', 'close'];
  const head = headText(response.status, STATUS_CODES[response.status] ?? '', [...headers, ...own]);
  socket.end(Buffer.concat([Buffer.from(head, 'latin1'), body]));
}

/** Writes a whole response. What is left of the request's body is read, within bounds, before the next request. */
export async function answer(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  response: Response,
): Promise<void> {
  const body = Buffer.from(await response.arrayBuffer());
  if (outgoing.headersSent || outgoing.destroyed) return void outgoing.destroy();
  // The parser has met nonsense behind this request, and its refusal has closed the connection.
  if (incoming.socket.writableEnded) return;
  const headers = [...response.headers].flat();
  if (response.status >= 200 && response.status !== 204 && response.status !== 304)
    headers.push('content-length', String(body.byteLength));
  const hasBody = incoming.rawHeaders.some((name, index) => index % 2 === 0 && FRAMING.test(name));
  // Whoever waits for 100 Continue may send his body or not: nobody can tell what comes next.
  if (incoming.headers.expect !== undefined && !response.headers.has('connection'))
    headers.push('connection', 'close');
  outgoing.writeHead(response.status, headers);
  if (!hasBody || incoming.complete || incoming.headers.expect !== undefined) return void outgoing.end(body);
  outgoing.write(body);
  discardRest(incoming, (whole) => {
    if (whole) return void outgoing.end();
    outgoing.shouldKeepAlive = false;
    outgoing.end(() => incoming.socket.destroySoon());
  });
}

const FRAMING = /^(?:content-length|transfer-encoding)$/i;

/** Reads what is left of a body and throws it away, within bounds. @param done - told whether that was all of it. */
export function discardRest(incoming: IncomingMessage, done: (whole: boolean) => void): void {
  let bytes = 0;
  let over = false;
  const finish = (whole: boolean): void => {
    if (over) return;
    over = true;
    clearTimeout(timer);
    done(whole);
  };
  const timer = setTimeout(() => finish(false), DRAIN_MS_MAX);
  incoming.on('data', (chunk: Uint8Array) => {
    bytes += chunk.byteLength;
    if (bytes > DRAIN_BYTES_MAX) finish(false);
  });
  incoming.once('end', () => finish(true));
  incoming.once('close', () => finish(true));
  incoming.resume();
}
