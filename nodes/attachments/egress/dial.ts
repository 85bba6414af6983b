/**
 * Opens a connection to a target: look up once, judge every address, connect to exactly those.
 *
 * A name that has even one address which may not be reached is refused as a whole: that is how rebinding
 * looks, and no honest name does it.
 */
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls, type SecureContext } from 'node:tls';
import type { Timers } from '#shared/runtime/clock.ts';
import type { AddressPolicy } from './addresses.ts';
import type { Names } from './names.ts';
import { refusal } from './refusal.ts';
import type { Rules } from './rules.ts';
import type { ConnectTarget, Target } from './target.ts';

/** For each address but the last; Node's own 250 ms is less than the way to the other side of the world. */
const ATTEMPT_MS_MAX = 1_000;

export interface DialOptions {
  readonly names: Names;
  readonly policy: AddressPolicy;
  readonly timers: Timers;
  /** Name, address, TCP and TLS together. */
  readonly connectMsMax: number;
  /** Trust of TLS connections, when it is not Node's own. */
  readonly secureContext: SecureContext | undefined;
}

export type Dial = (
  target: ConnectTarget & Partial<Pick<Target, 'tls'>>,
  by: { readonly rules: Pick<Rules, 'deniesAddress'>; readonly account: string },
) => Promise<Socket>;

function reasonOf(error: NodeJS.ErrnoException, host: string): string {
  if (error.code === 'ECONNREFUSED') return `${host} refused the connection`;
  if (error.code !== undefined && /CERT|SIGNATURE|^ERR_(?:TLS|SSL)/.test(error.code))
    return `the certificate of ${host} is not accepted (${error.code})`;
  return `${host} could not be reached (${error.code ?? 'no connection'})`;
}

function opened(socket: Socket, event: 'connect' | 'secureConnect', host: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void => {
      socket.destroy();
      reject(refusal('egress_failed', reasonOf(error, host), error));
    };
    const gone = (): void => fail(new Error('closed while it was opened'));
    socket.once('error', fail);
    socket.once('close', gone);
    socket.once(event, () => {
      socket.off('error', fail);
      socket.off('close', gone);
      resolve(socket);
    });
  });
}

function openTcp(host: string, port: number, addresses: readonly string[]): Socket {
  const [first = ''] = addresses;
  const socket =
    addresses.length === 1
      ? connectTcp({ host: first, port, allowHalfOpen: true, noDelay: true })
      : connectTcp({
          host,
          port,
          allowHalfOpen: true,
          noDelay: true,
          autoSelectFamily: true,
          autoSelectFamilyAttemptTimeout: ATTEMPT_MS_MAX,
          // Never asks again: these are the addresses that were judged.
          lookup: (_host, _options, answer) =>
            answer(
              null,
              addresses.map((address) => ({ address, family: isIP(address) })),
            ),
        });
  // Whoever takes the socket listens for itself; none may bring the thread down in between.
  socket.on('error', () => undefined);
  return socket;
}

export function createDial(options: DialOptions): Dial {
  const { names, policy, timers, connectMsMax, secureContext } = options;
  return async ({ host, port, tls }, { rules, account }) => {
    const timeout = Promise.withResolvers<never>();
    // It may come while nobody listens.
    timeout.promise.catch(() => undefined);
    let current: Socket | undefined;
    let overdue = false;
    using _timer = timers.after(connectMsMax, () => {
      overdue = true;
      timeout.reject(refusal('egress_timeout', `${host} was not connected in time`));
      current?.destroy();
    });
    const dial = async (): Promise<Socket> => {
      const addresses = isIP(host) === 0 ? await names.lookup(host, account) : [host];
      if (addresses.some((address) => !policy(address, port)))
        throw refusal('egress_denied', `${host} is at an address that is private or reserved`);
      if (addresses.some((address) => rules.deniesAddress(address, port)))
        throw refusal('egress_denied', `${host} is at an address that the rules deny`);
      if (overdue) return timeout.promise;
      current = openTcp(host, port, addresses);
      await opened(current, 'connect', host);
      if (tls !== true) return current;
      const secure = connectTls({
        socket: current,
        host,
        ...(isIP(host) === 0 ? { servername: host } : {}),
        ALPNProtocols: ['http/1.1'],
        rejectUnauthorized: true,
        ...(secureContext === undefined ? {} : { secureContext }),
      });
      secure.on('error', () => undefined);
      current = secure;
      return opened(secure, 'secureConnect', host);
    };
    const dialled = dial();
    // The loser of the race must not be an unhandled rejection.
    dialled.catch(() => undefined);
    // Awaited here: the timer ends with this function.
    return await Promise.race([dialled, timeout.promise]);
  };
}
