/**
 * Asks a workerd process whether its event loop turns, without running user code: a line that is not HTTP
 * is answered `400` by the HTTP parser itself. No second socket, no second service.
 */
import type { Address } from '#shared/contracts/address.ts';
import { connectTo } from '#shared/runtime/transport.node.ts';

const NOT_HTTP = '?\r\n\r\n';

/** Calls `answered` once: on the answer, or when the process is gone (its end is reported elsewhere). */
export function probe(address: Address, answered: () => void): () => void {
  const socket = connectTo(address);
  let open = true;
  const finish = (): void => {
    if (!open) return;
    open = false;
    socket.destroy();
    answered();
  };
  socket.once('connect', () => socket.write(NOT_HTTP));
  socket.once('data', finish);
  socket.once('error', finish);
  socket.once('close', finish);
  return () => {
    open = false;
    socket.destroy();
  };
}
