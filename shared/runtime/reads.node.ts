/**
 * Reads of sockets into one buffer of the process, each handed on as a copy of its own length. Node otherwise allocates
 * 64 KiB for every read, of which a request of 200 bytes then is given back: a tenth of what a request costs the gateway.
 */
import { Socket, type OnReadOpts } from 'node:net';

/** As much as Node reads at once. */
const READ_BYTES = 64 * 1_024;
/** Filled and copied within one call from the event loop, so that all sockets can have the same. */
const buffer = Buffer.allocUnsafeSlow(READ_BYTES);

type OnBytes = (bytes: Buffer) => void;

/** For sockets that are made here. They emit no `data`. */
export function readsOf(onBytes: OnBytes): OnReadOpts {
  return {
    buffer,
    callback: (length, read) => {
      onBytes(Buffer.from(read.subarray(0, length)));
      return true;
    },
  };
}

interface Handle {
  readonly useUserBuffer?: (bytes: Uint8Array) => void;
}

type Internals = Record<symbol, unknown> & { readonly _handle?: Handle | null };

/** What the option `onread` sets, which sockets of a server cannot have: undefined where this Node has it otherwise. */
const internal = ((): { readonly buffer: symbol; readonly callback: symbol } | undefined => {
  const found = new Map(
    Object.getOwnPropertySymbols(new Socket()).map((symbol) => [symbol.description, symbol]),
  );
  const [kBuffer, kCallback] = [found.get('kBuffer'), found.get('kBufferCb')];
  return kBuffer === undefined || kCallback === undefined
    ? undefined
    : { buffer: kBuffer, callback: kCallback };
})();

/**
 * For a socket that a server has just accepted. `take` gets what comes until it answers false; from then on the socket emits
 * `data` as any other.
 *
 * @returns false: it cannot be done, and the socket emits `data` from the start.
 */
export function takeReads(socket: Socket, take: (bytes: Buffer) => boolean): boolean {
  const internals = socket as unknown as Internals;
  const { _handle: handle } = internals;
  if (internal === undefined || typeof handle?.useUserBuffer !== 'function') return false;
  internals[internal.buffer] = buffer;
  internals[internal.callback] = (length: number, read: Uint8Array): boolean => {
    const bytes = Buffer.from(read.subarray(0, length));
    return take(bytes) || socket.push(bytes);
  };
  handle.useUserBuffer(buffer);
  return true;
}
