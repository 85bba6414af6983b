/** WebSocket handshakes: over a connection of their own, which becomes a tunnel or ends with the answer. */
import { request, STATUS_CODES, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { HEADER_BYTES_MAX } from './connections.ts';
import { headerOf, responseHeaders } from './headers.ts';
import { refusal } from './refusal.ts';
import { joinSockets, type TunnelOptions } from './tunnel.ts';

export interface UpgradeOptions extends TunnelOptions {
  readonly path: string;
  readonly headers: readonly string[];
  readonly headMs: number;
}

export function writeHead(socket: Duplex, status: number, headers: readonly string[]): void {
  let text = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n`;
  for (let index = 0; index + 1 < headers.length; index += 2)
    text += `${headers[index]}: ${headers[index + 1]}\r\n`;
  socket.write(`${text}\r\n`, 'latin1');
}

/** Only WebSocket: other protocols (h2c among them) would leave the proxy's rules behind. */
export function isWebSocket(raw: readonly string[]): boolean {
  return headerOf(raw, 'upgrade')?.toLowerCase() === 'websocket';
}

function refuseUpgrade(socket: Duplex, answer: IncomingMessage, options: UpgradeOptions): void {
  writeHead(socket, answer.statusCode ?? 502, [
    // Node has taken the chunks apart; the end of the connection ends the body.
    ...responseHeaders(answer.rawHeaders),
    'connection',
    'close',
  ]);
  answer.on('data', (chunk: Buffer) => options.countBytes(chunk.byteLength));
  answer.once('error', () => socket.destroy());
  socket.once('close', () => answer.destroy());
  answer.pipe(socket);
}

/** Resolves when the target has answered, whatever it said. */
export function upgrade(
  client: Duplex,
  head: Buffer,
  target: Socket,
  options: UpgradeOptions,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const outgoing = request({
      method: 'GET',
      path: options.path,
      headers: [...options.headers, 'connection', 'Upgrade', 'upgrade', 'websocket'],
      createConnection: () => target,
      maxHeaderSize: HEADER_BYTES_MAX,
      timeout: options.headMs,
    });
    const onGone = (): void => void outgoing.destroy();
    client.once('close', onGone);
    outgoing.once('timeout', () =>
      outgoing.destroy(
        refusal('egress_timeout', 'the target did not answer the WebSocket handshake in time'),
      ),
    );
    outgoing.once('upgrade', (answer: IncomingMessage, socket: Socket, rest: Buffer) => {
      client.off('close', onGone);
      writeHead(client, 101, [
        ...responseHeaders(answer.rawHeaders),
        'connection',
        'Upgrade',
        'upgrade',
        'websocket',
      ]);
      if (rest.byteLength > 0) client.write(rest);
      if (head.byteLength > 0) socket.write(head);
      joinSockets(client, socket, options);
      resolve();
    });
    outgoing.once('response', (answer) => {
      client.off('close', onGone);
      refuseUpgrade(client, answer, options);
      resolve();
    });
    outgoing.once('error', reject);
    outgoing.end();
  });
}
