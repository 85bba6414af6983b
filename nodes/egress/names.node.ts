/**
 * Names to addresses, asked of DNS servers only: this machine's own hosts file names things that functions
 * must not reach. Answers are kept for their TTL within bounds, failures for a short while.
 */
import { Resolver } from 'node:dns/promises';
import { LRUCache } from 'lru-cache';
import type { Clock, Timers } from '#shared/runtime/clock.ts';
import { deferred } from './deferred.ts';
import { refusal } from './refusal.ts';

export interface NameAnswer {
  readonly addresses: readonly string[];
  readonly ttlS: number;
}

/** Rejects when no server answered; no addresses: the name does not exist or has none. */
export type Resolve = (host: string) => Promise<NameAnswer>;

const ENTRIES_MAX = 10_000;
const RUNNING_MAX = 1_000;
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
  readonly entriesMax?: number;
}

interface Entry {
  readonly addresses: readonly string[];
  readonly untilMs: number;
}

export class Names {
  readonly #options: NamesOptions;
  readonly #entries: LRUCache<string, Entry>;
  readonly #running = new Map<string, Promise<readonly string[]>>();

  constructor(options: NamesOptions) {
    this.#options = options;
    this.#entries = new LRUCache({ max: options.entriesMax ?? ENTRIES_MAX });
  }

  get size(): number {
    return this.#entries.size;
  }

  /** @throws {PlatformError} `egress_failed` or `egress_timeout`. Never empty. */
  async lookup(host: string): Promise<readonly string[]> {
    // RFC 6761: resolvers must not ask for it.
    if (host === 'localhost' || host.endsWith('.localhost')) return ['127.0.0.1'];
    const known = this.#entries.get(host);
    const addresses =
      known !== undefined && this.#options.clock.monotonicMs() < known.untilMs
        ? known.addresses
        : await this.#once(host);
    if (addresses.length === 0) throw refusal('egress_failed', `the name ${host} has no address`);
    return addresses;
  }

  #once(host: string): Promise<readonly string[]> {
    const running = this.#running.get(host);
    if (running !== undefined) return running;
    if (this.#running.size >= RUNNING_MAX)
      return Promise.reject(refusal('egress_failed', 'too many names are being looked up; try again'));
    const asked = this.#ask(host).finally(() => this.#running.delete(host));
    this.#running.set(host, asked);
    return asked;
  }

  async #ask(host: string): Promise<readonly string[]> {
    const { resolve, clock, timers } = this.#options;
    const timeout = deferred<never>();
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
    this.#entries.set(host, { addresses: answer.addresses, untilMs: clock.monotonicMs() + keptMs });
    return answer.addresses;
  }
}
