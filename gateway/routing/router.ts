/**
 * Host and path → function version, on the snapshot that the feed keeps.
 *
 * Hosts of functions need no compiled table: the feed's map is keyed by account and name. Routes are
 * compiled when one of them changes. What a Host header means is remembered until the next change, so
 * the usual request costs one map lookup.
 *
 * A route on the host of an existing function applies only when both belong to one account: nobody takes
 * over a neighbour's address.
 */
import type { AccountItem, FeedItem, FunctionItem, VersionItem } from '#shared/contracts/feed.ts';
import type { FeedState } from '#shared/feed/state.ts';
import { versionId } from '#shared/ids.ts';
import type { RequestTarget } from '#shared/http/target.ts';
import { accountOfDomain, hostName, readHost } from './host.ts';
import { compileRoutes, matchRoute, ownersOf, type DomainOwners, type RouteTable } from './routes.ts';

export interface Target {
  readonly functionItem: FunctionItem;
  readonly version: VersionItem;
  readonly account: AccountItem | undefined;
}

export type Lookup =
  | { readonly kind: 'found'; readonly target: Target }
  | { readonly kind: 'bare' }
  | { readonly kind: 'not_found' }
  | { readonly kind: 'disabled' }
  /** Two readings of the path lead to different functions. */
  | { readonly kind: 'ambiguous' };

interface Choice {
  readonly target: Target;
  /** Upper end of this target's share of 100. */
  readonly upTo: number;
}

type Resolved = Exclude<Lookup, { kind: 'found' }> | { readonly kind: 'choices'; readonly choices: Choice[] };

/** Distinct Host headers that are remembered; clients choose them, so there is a bound. */
const HOSTS_REMEMBERED_MAX = 4_096;
/** The longest name (RFC 1035), its final dot and a port. */
const HOST_LENGTH_MAX = 253 + '.:65535'.length;
const NOT_FOUND = { kind: 'not_found' } as const;
const AMBIGUOUS = { kind: 'ambiguous' } as const;

export class Router {
  readonly #state: () => FeedState;
  readonly #baseDomain: string;
  readonly #random: () => number;
  #routes: RouteTable | undefined;
  #owners: DomainOwners | undefined;
  readonly #byHost = new Map<string, Resolved>();

  /** @param random - in [0, 1), spreads requests over a weighted alias. */
  constructor(options: {
    readonly state: () => FeedState;
    readonly baseDomain: string;
    readonly random: () => number;
  }) {
    this.#state = options.state;
    this.#baseDomain = options.baseDomain.toLowerCase();
    this.#random = options.random;
  }

  /** The snapshot has changed. Keys do not concern routing. */
  changed(items: readonly FeedItem[]): void {
    if (items.some((item) => item.kind === 'route')) this.#routes = this.#owners = undefined;
    if (items.some((item) => item.kind !== 'key')) this.#byHost.clear();
  }

  lookup(hostHeader: string, { path, lax }: Pick<RequestTarget, 'path' | 'lax'>): Lookup {
    this.#routes ??= compileRoutes(this.#state().values('route'));
    if (this.#routes.size > 0) {
      const routed = this.#lookupRoute(this.#routes, hostHeader, path, lax);
      if (routed !== undefined) return this.#choose(routed);
    }
    let resolved = this.#byHost.get(hostHeader);
    if (resolved === undefined) {
      resolved = this.#resolveHost(hostHeader);
      this.#remember(hostHeader, resolved);
    }
    return this.#choose(resolved);
  }

  /** Whoever connects chooses the header: what leads nowhere, or is no name, is read anew each time. */
  #remember(hostHeader: string, resolved: Resolved): void {
    if (resolved.kind !== 'choices' || hostHeader.length > HOST_LENGTH_MAX) return;
    if (this.#byHost.size >= HOSTS_REMEMBERED_MAX) this.#byHost.clear();
    this.#byHost.set(hostHeader, resolved);
  }

  get hostsRemembered(): number {
    return this.#byHost.size;
  }

  /** True when no host at or below the domain is the platform's or another account's: cookies may be set for it. */
  ownsDomain(account: string, domain: string): boolean {
    const base = this.#baseDomain;
    if (base === domain || base.endsWith(`.${domain}`)) return false;
    if (domain.endsWith(`.${base}`)) return accountOfDomain(domain.slice(0, -base.length - 1)) === account;
    this.#owners ??= ownersOf(this.#state().values('route'));
    return this.#owners.get(domain) === account;
  }

  #choose(resolved: Resolved): Lookup {
    if (resolved.kind !== 'choices') return resolved;
    const { choices } = resolved;
    const drawn = choices.length > 1 ? this.#random() * 100 : 0;
    const choice = choices.find(({ upTo }) => drawn < upTo) ?? choices.at(-1);
    return choice === undefined ? NOT_FOUND : { kind: 'found', target: choice.target };
  }

  // oxlint-disable-next-line max-params -- on the path of every routed request: no object for it
  #lookupRoute(
    routes: RouteTable,
    hostHeader: string,
    path: string,
    lax: string | undefined,
  ): Resolved | undefined {
    const name = hostName(hostHeader);
    const route = matchRoute(routes, name, path);
    if (lax !== undefined && matchRoute(routes, name, lax) !== route) return AMBIGUOUS;
    if (route === undefined) return undefined;
    const host = readHost(hostHeader, this.#baseDomain);
    if (host.kind === 'bare') return undefined;
    if (host.kind === 'function' && host.account !== route.account) {
      const owner = this.#state().get('function', `${host.account}/${host.name}`);
      if (owner !== undefined) return undefined;
    }
    return this.#resolve(route.account, route.functionName, route.alias);
  }

  #resolveHost(hostHeader: string): Resolved {
    const host = readHost(hostHeader, this.#baseDomain);
    switch (host.kind) {
      case 'bare':
        return { kind: 'bare' };
      case 'other':
        return NOT_FOUND;
      case 'function':
        return openHost(this.#resolve(host.account, host.name, host.alias));
    }
  }

  #resolve(account: string, name: string, alias: string): Resolved {
    const state = this.#state();
    const functionItem = state.get('function', `${account}/${name}`);
    if (functionItem === undefined) return NOT_FOUND;
    const weighted: readonly { readonly version: number; readonly weight: number }[] = Object.hasOwn(
      functionItem.aliases,
      alias,
    )
      ? (functionItem.aliases[alias as keyof FunctionItem['aliases']] ?? [])
      : [];
    const choices: Choice[] = [];
    let upTo = 0;
    for (const { version: number, weight } of weighted) {
      const version = state.get('version', versionId(account, name, number));
      if (version === undefined) continue;
      upTo += weight;
      choices.push({ target: { functionItem, version, account: state.get('account', account) }, upTo });
    }
    if (choices.length === 0) return NOT_FOUND;
    return functionItem.enabled ? { kind: 'choices', choices } : { kind: 'disabled' };
  }
}

/** A function's own host is closed as soon as one version behind it says so: a canary cannot open it by chance. */
function openHost(resolved: Resolved): Resolved {
  const isClosed =
    resolved.kind === 'choices' && resolved.choices.some(({ target }) => !target.version.defaultHost);
  return isClosed ? NOT_FOUND : resolved;
}
