/** workerd hears of an answer only after it has sent its body, so a body that nobody wants is read, within reason. */
import type { IncomingMessage } from 'node:http';
import { readGarbage } from '#shared/runtime/read-garbage.node.ts';

/** @param bytesMax - of it; then the connection is cut. */
export function drain(incoming: IncomingMessage, bytesMax: number): void {
  let bytes = 0;
  incoming.on('data', (chunk: Uint8Array) => {
    bytes += chunk.byteLength;
    readGarbage.read(chunk.byteLength);
    if (bytes > bytesMax) incoming.socket.destroy();
  });
  incoming.resume();
}
