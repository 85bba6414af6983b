/**
 * Asks a workerd process whether its event loop turns, without running user code: a line that is not HTTP
 * is answered `400` by the HTTP parser itself. No second socket, no second service.
 */
import { connect } from 'node:net';

const NOT_HTTP = '?\r\n\r\n';

/** Calls `answered` once: on the answer, or when the process is gone (its end is reported elsewhere). */
export function probe(socketPath: string, answered: () => void): () => void {
  const socket = connect(socketPath);
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
