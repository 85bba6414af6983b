/** Whether a client that ended its side still waits for its answer. */
import type { Socket } from 'node:net';

/** A client that ended its side waits for the answer, or has gone: asked first after this, then ever more seldom. */
const PROBE_MS = 250;
const PROBE_MS_MAX = 8_000;

export interface Unanswered {
  readonly headersSent: boolean;
  writeProcessing(): void;
}

/**
 * The end of a client's side does not tell whether it still listens. Something must be written to learn that:
 * interim responses, which every HTTP/1.1 client reads past (RFC 9110 section 15.2). The work is cancelled when one
 * is answered by a reset.
 */
export function askWhetherGone(socket: Socket, response: Unanswered, afterMs = PROBE_MS): void {
  if (response.headersSent) return;
  const timer = setTimeout(() => {
    if (response.headersSent || socket.destroyed) return;
    response.writeProcessing();
    askWhetherGone(socket, response, Math.min(afterMs * 2, PROBE_MS_MAX));
  }, afterMs);
  timer.unref();
}
