/**
 * Names to addresses, asked of DNS servers only: this machine's own hosts file names things that functions
 * must not reach. Answers are kept for their TTL within bounds, failures for a short while.
 */
import { Resolver } from 'node:dns/promises';
import type { Clock, Timers } from '#shared/runtime/clock.ts';
import { SharedCache } from '#shared/shared-cache.ts';
import type { Shares } from '#shared/shares.ts';
import { refusal } from './refusal.ts';

export interface NameAnswer {
  readonly addresses: readonly string[];
  readonly ttlS: number;
}

/** Rejects when no server answered; no addresses: the name does not exist or has none. */
export type Resolve = (host: string) => Promise<NameAnswer>;

const TTL_S_MIN = 1;
const TTL_S_MAX = 60;
const NEGATIVE_MS = 5_000;
const LOOKUP_MS_MAX = 5_000;
const TRY_MS = 2_000;
const ADDRESSES_MAX = 16;
const ABSENT: ReadonlySet<unknown> = new Set(['ENOTFOUND', 'ENODATA']);

/** @param servers - `address` or `address:port`; empty: those of this machine. */
export function dnsResolver(servers: readonly string[]): Resolve {
  const resolver = new Resolver({ timeout: TRY_MS, tries: 2 });
  if (servers.length > 0) resolver.setServers(servers);
  return async (host) => {
    const found = await Promise.allSettled([
      resolver.resolve4(host, { ttl: true }),
      resolver.resolve6(host, { ttl: true }),
    ]);
    const records = found.flatMap((result) => (result.status === 'fulfilled' ? result.value : []));
    const broken = found.find(
      (result) =>
        result.status === 'rejected' &&
        !ABSENT.has((result.reason as NodeJS.ErrnoException | undefined)?.code),
    );
    if (records.length === 0 && broken?.status === 'rejected') throw broken.reason;
    return {
      addresses: records.map(({ address }) => address).slice(0, ADDRESSES_MAX),
      ttlS: Math.min(...records.map(({ ttl }) => ttl), TTL_S_MAX),
    };
  };
}

export interface NamesOptions {
  readonly resolve: Resolve;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Names in the course of being looked up, and those remembered, by account. */
  readonly lookups: Shares;
  readonly remembered: Shares;
}

interface Entry {
  readonly addresses: readonly string[];
  readonly untilMs: number;
}

export class Names {
  readonly #options: NamesOptions;
  readonly #entries: SharedCache<Entry>;
  readonly #running = new Map<string, Promise<readonly string[]>>();

  constructor(options: NamesOptions) {
    this.#options = options;
    this.#entries = new SharedCache(options.remembered);
  }

  get size(): number {
    return this.#entries.size;
  }

  /** @throws {PlatformError} `egress_failed` or `egress_timeout`. Never empty. */
  async lookup(host: string, account: string): Promise<readonly string[]> {
    // RFC 6761: resolvers must not ask for it.
    if (host === 'localhost' || host.endsWith('.localhost')) return ['127.0.0.1'];
    const known = this.#entries.get(account, host);
    const addresses =
      known !== undefined && this.#options.clock.monotonicMs() < known.untilMs
        ? known.addresses
        : await this.#once(host, account);
    if (addresses.length === 0) throw refusal('egress_failed', `the name ${host} has no address`);
    return addresses;
  }

  #once(host: string, account: string): Promise<readonly string[]> {
    const { lookups } = this.#options;
    const key = `${account} ${host}`;
    const running = this.#running.get(key);
    if (running !== undefined) return running;
    if (!lookups.take(account, 1)) return Promise.reject(lookups.full(account));
    const asked = this.#ask(host, account).finally(() => {
      this.#running.delete(key);
      lookups.give(account, 1);
    });
    this.#running.set(key, asked);
    return asked;
  }

  async #ask(host: string, account: string): Promise<readonly string[]> {
    const { resolve, clock, timers } = this.#options;
    const timeout = Promise.withResolvers<never>();
    // It may come while nobody listens.
    timeout.promise.catch(() => undefined);
    using _timer = timers.after(LOOKUP_MS_MAX, () =>
      timeout.reject(refusal('egress_timeout', `the name ${host} could not be looked up in time`)),
    );
    let answer: NameAnswer;
    try {
      answer = await Promise.race([resolve(host), timeout.promise]);
    } catch (thrown) {
      if (thrown instanceof Error && 'code' in thrown && thrown.code === 'egress_timeout') throw thrown;
      throw refusal('egress_failed', `the name ${host} could not be looked up`, thrown);
    }
    const keptMs =
      answer.addresses.length === 0
        ? NEGATIVE_MS
        : Math.max(TTL_S_MIN, Math.min(TTL_S_MAX, answer.ttlS)) * 1_000;
    this.#entries.set(account, host, { addresses: answer.addresses, untilMs: clock.monotonicMs() + keptMs });
    return answer.addresses;
  }
}
