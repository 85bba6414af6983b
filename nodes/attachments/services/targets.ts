/** Which version a service binding leads to now. Follows the feed, so that a binding follows its alias. */
import type { FeedItem, FunctionItem, Runnable } from '#shared/contracts/feed.ts';
import { PlatformError } from '#shared/errors.ts';
import { versionId, type VersionId } from '#shared/ids.ts';
import { rpcSocket, RPC_SOCKET } from '../../slots/sockets.ts';
import { COMPLETE, type StateEntry } from '../protocol.ts';

/** What a socket leads to. The account is the caller's own: there is no way to name another. */
export interface ServiceTarget {
  readonly account: string;
  /** Function that calls; the target sees it as its principal. */
  readonly caller: string;
  readonly functionName: string;
  readonly alias: string;
  readonly entrypoint: string | undefined;
}

export type TargetVersion = Pick<Runnable, 'id' | 'limits' | 'scaling' | 'entrypoints'>;

export interface Resolved {
  readonly version: TargetVersion;
  /** Socket in the target's folder that serves the entrypoint. */
  readonly socketFile: string;
}

/** The part of the feed that resolving needs. */
export function serviceState(item: FeedItem): StateEntry | undefined {
  const key = `${item.kind}/${item.key}`;
  if (item.kind === 'function') return { key, value: item.value ?? undefined };
  if (item.kind !== 'runnable') return undefined;
  if (item.value === null) return { key, value: undefined };
  const { id, limits, scaling, entrypoints } = item.value;
  return { key, value: { id, limits, scaling, entrypoints } satisfies TargetVersion };
}

export class Targets {
  readonly #functions = new Map<string, FunctionItem>();
  readonly #versions = new Map<string, TargetVersion>();
  readonly #random: () => number;
  #complete = false;

  /** @param random - in [0, 1), spreads calls over a weighted alias. */
  constructor(random: () => number) {
    this.#random = random;
  }

  apply(entries: readonly StateEntry[]): void {
    for (const { key, value } of entries) {
      if (key === COMPLETE) {
        this.#complete = value === true;
        continue;
      }
      const slash = key.indexOf('/');
      const map: Map<string, unknown> = key.startsWith('function/') ? this.#functions : this.#versions;
      if (value === undefined) map.delete(key.slice(slash + 1));
      else map.set(key.slice(slash + 1), value);
    }
  }

  /** @throws {PlatformError} `control_unavailable` while the state may lack something, `function_not_found`, `function_disabled`, `binding_not_found`. */
  resolve(target: ServiceTarget): Resolved {
    const { account, functionName, alias, entrypoint } = target;
    const item = this.#functions.get(`${account}/${functionName}`);
    // An alias may be called `constructor`.
    const weights =
      item !== undefined && Object.hasOwn(item.aliases, alias)
        ? item.aliases[alias as keyof FunctionItem['aliases']]
        : undefined;
    if ((item === undefined || weights === undefined) && !this.#complete) throw tooEarly();
    if (item === undefined || weights === undefined)
      throw new PlatformError('function_not_found', `${account}/${functionName} has no alias ${alias}`, {
        publicDetail: `There is no function ${functionName} with alias ${alias} in this account.`,
      });
    if (!item.enabled) throw new PlatformError('function_disabled', `${functionName} is disabled`);
    const version = this.#versions.get(this.#pick(item, weights));
    if (version === undefined && !this.#complete) throw tooEarly();
    if (version === undefined)
      throw new PlatformError('function_not_found', `the feed has not brought a version of ${functionName}`);
    return { version, socketFile: socketOf(version, entrypoint) };
  }

  #pick(item: FunctionItem, weights: readonly { version: number; weight: number }[]): VersionId {
    let rest = this.#random() * 100;
    const chosen = weights.find(({ weight }) => (rest -= weight) < 0) ?? weights[0];
    return versionId(item.account, item.name, chosen?.version ?? 1);
  }
}

/** The feed may bring it yet. */
function tooEarly(): PlatformError {
  return new PlatformError('control_unavailable', 'the state may be older than the function', {
    retryAfterMs: 1_000,
  });
}

function socketOf(version: TargetVersion, entrypoint: string | undefined): string {
  if (entrypoint === undefined) return RPC_SOCKET;
  const index = version.entrypoints.findIndex((name) => name === entrypoint);
  if (index >= 0) return rpcSocket(index);
  throw new PlatformError('binding_not_found', `${version.id} has no entrypoint ${entrypoint}`, {
    publicDetail: `${version.id} does not list ${entrypoint} in its entrypoints.`,
  });
}
