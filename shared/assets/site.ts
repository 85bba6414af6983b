/**
 * What a request for a path of a version's assets comes to: redirects first, then files, then what stands in
 * for them. Pure; answers are remembered for the paths that are asked for most.
 */
import { LRUCache } from 'lru-cache';
import type { AssetFile, ServedAssets } from '../contracts/assets.ts';
import { LIMITS } from '../limits.ts';
import { findFile, type Files } from './html.ts';
import { Manifest } from './manifest.ts';
import {
  compileRule,
  fillIn,
  isDynamic,
  matchGlob,
  matchRule,
  SplitUrl,
  type RulePattern,
} from './pattern.ts';
import type { HeaderRule, Redirect } from './rule-files.ts';

/** Changes that `_headers` makes, in order. */
export interface HeaderChange {
  readonly set: readonly (readonly [name: string, value: string])[];
  readonly unset: readonly string[];
}

export type Decision = (
  | {
      readonly kind: 'file';
      readonly file: AssetFile;
      readonly status: 200 | 404;
      /** What was asked for, after rewrites and decoded: another path than the file's own. */
      readonly address: string;
    }
  | { readonly kind: 'redirect'; readonly status: number; readonly location: string }
  /** A rewrite to a file that is not there. */
  | { readonly kind: 'missing' }
  /** A file is there, but may only be read. */
  | { readonly kind: 'method' }
  /** Nothing is here: the code's turn, or not found. */
  | { readonly kind: 'none' }
) & { readonly changes: readonly HeaderChange[] };

export interface AssetQuestion {
  readonly method: string;
  readonly scheme: 'http' | 'https';
  /** Without port. */
  readonly hostname: string;
  /** Host header, for redirects to other hosts. */
  readonly host: string;
  /** As it was asked for: percent-encoded. */
  readonly path: string;
  /** With its leading `?`, or empty. */
  readonly query: string;
  /** What stands in for files that are not there is asked, too. */
  readonly standIns: boolean;
}

interface CompiledRedirect {
  readonly pattern: RulePattern;
  readonly redirect: Redirect;
}

interface CompiledHeaders {
  readonly pattern: RulePattern;
  readonly rule: HeaderRule;
}

const REMEMBERED_MAX = 1_024;
const REMEMBERED_PATH_LENGTH_MAX = 256;
/** A path beyond this is no file's, and no rule but those that end in `*` is asked for it. */
const MATCHED_PATH_LENGTH_MAX = 3 * LIMITS.assetPathBytesMax;
const NO_CHANGES: readonly HeaderChange[] = [];

export class Site {
  readonly served: ServedAssets;
  readonly #files: Files;
  readonly #fixed = new Map<string, Redirect>();
  readonly #dynamic: readonly CompiledRedirect[];
  readonly #headers: readonly CompiledHeaders[];
  readonly #byHost: boolean;
  readonly #remembered = new LRUCache<string, Decision>({ max: REMEMBERED_MAX });

  /** @param bytes - the manifest's; its digest was checked. */
  constructor(served: ServedAssets, bytes: Uint8Array) {
    this.served = served;
    const manifest = Manifest.read(bytes);
    this.#files = {
      find: (path) => manifest.find(path),
      foldersWith404:
        served.config.notFoundHandling === '404-page' ? manifest.foldersWith('404.html') : new Set(),
    };
    const { headers, redirects } = manifest.rules;
    const firstDynamic = redirects.findIndex(({ from }) => isDynamic(from));
    const fixed = firstDynamic < 0 ? redirects : redirects.slice(0, firstDynamic);
    for (const redirect of fixed) this.#fixed.set(redirect.from, redirect);
    this.#dynamic = redirects.slice(fixed.length).flatMap((redirect) => {
      const pattern = compileRule(redirect.from);
      return 'problem' in pattern ? [] : [{ pattern, redirect }];
    });
    this.#headers = headers.flatMap((rule) => {
      const pattern = compileRule(rule.path);
      return 'problem' in pattern ? [] : [{ pattern, rule }];
    });
    this.#byHost = this.#headers.some(({ pattern }) => pattern.withHost);
  }

  /** The code answers before any file is looked for. */
  workerFirst(path: string): boolean {
    const { config, alone } = this.served;
    if (alone) return false;
    const { runWorkerFirst } = config;
    if (typeof runWorkerFirst === 'boolean') return runWorkerFirst;
    return (
      !runWorkerFirst.some((pattern) => pattern.startsWith('!') && matchGlob(pattern.slice(1), path)) &&
      runWorkerFirst.some((pattern) => !pattern.startsWith('!') && matchGlob(pattern, path))
    );
  }

  /** What stands in for missing files comes before the code: it was said which paths are the code's. */
  standInsBeforeCode(secFetchMode: string | undefined): boolean {
    const { config, alone, navigationFirst } = this.served;
    return (
      alone || typeof config.runWorkerFirst === 'object' || (navigationFirst && secFetchMode === 'navigate')
    );
  }

  decide(question: AssetQuestion): Decision {
    const { method, path, standIns } = question;
    const reads = method === 'GET' || method === 'HEAD';
    if (!reads || this.#byHost || path.length > REMEMBERED_PATH_LENGTH_MAX)
      return this.#decide(question, reads);
    const key = standIns ? `+${path}` : path;
    let decision = this.#remembered.get(key);
    if (decision === undefined) {
      decision = this.#decide(question, reads);
      // A redirect holds the query, and may name the host, that was asked for.
      if (decision.kind !== 'redirect') this.#remembered.set(key, decision);
    }
    return decision;
  }

  #decide(question: AssetQuestion, reads: boolean): Decision {
    const url = new SplitUrl(question);
    const changes = this.#changesFor(url);
    const { path, query } = question;
    const redirect = this.#redirectFor(url);
    if (redirect !== undefined && redirect.status !== 200)
      return {
        kind: 'redirect',
        status: redirect.status,
        location: locationOf(redirect.to, question),
        changes,
      };
    const asked = redirect === undefined ? path : rewritten(redirect.to, question);
    if (asked.length > MATCHED_PATH_LENGTH_MAX)
      return { kind: redirect === undefined ? 'none' : 'missing', changes };
    const decoded = decodePath(asked);
    const { config } = this.served;
    const handling = question.standIns ? config : { ...config, notFoundHandling: 'none' as const };
    const found = findFile(this.#files, handling, decoded);
    if (found === undefined) return { kind: redirect === undefined ? 'none' : 'missing', changes };
    if (!reads) return { kind: 'method', changes };
    const canonical = encodePath(found.kind === 'moved' ? found.to : decoded);
    if (found.kind === 'moved' || canonical !== asked)
      return { kind: 'redirect', status: 307, location: canonical + query, changes };
    return { ...found, address: decoded, changes };
  }

  #redirectFor(url: SplitUrl): Redirect | undefined {
    const { path } = url;
    const fixed = this.#fixed.get(path);
    if (fixed !== undefined) return fixed;
    if (path.length > MATCHED_PATH_LENGTH_MAX) return undefined;
    for (const { pattern, redirect } of this.#dynamic) {
      const captures = matchRule(pattern, url);
      if (captures === undefined) continue;
      const to = fillIn(redirect.to, captures).trim();
      return { ...redirect, to: /^\w+:\/\//.test(to) ? to : to.replaceAll(/[/\\]+/g, '/') };
    }
    return undefined;
  }

  #changesFor(url: SplitUrl): readonly HeaderChange[] {
    if (this.#headers.length === 0) return NO_CHANGES;
    const changes: HeaderChange[] = [];
    for (const { pattern, rule } of this.#headers) {
      if (url.path.length > MATCHED_PATH_LENGTH_MAX && pattern.splat?.after.length !== 0) continue;
      const captures = matchRule(pattern, url);
      if (captures === undefined) continue;
      const set = rule.set.map(([name, value]) => [name, fillIn(value, captures)] as const);
      changes.push({ set, unset: rule.unset });
    }
    return changes;
  }
}

function urlOf({ scheme, host, path, query }: AssetQuestion): URL {
  return new URL(`${scheme}://${host === '' ? 'localhost' : host}${path}${query}`);
}

function rewritten(to: string, question: AssetQuestion): string {
  return new URL(to, urlOf(question)).pathname;
}

/** Its own query wins over that of the request. */
function locationOf(to: string, question: AssetQuestion): string {
  const asked = urlOf(question);
  const target = new URL(to, asked);
  const search = target.search === '' ? question.query : target.search;
  const origin =
    target.origin === asked.origin ? '' : target.href.slice(0, target.href.indexOf('/', 'https://'.length));
  return `${origin}${target.pathname}${search}${target.hash}`;
}

/** What cannot be decoded stays as it is. Repeated slashes would make a redirect lead to another host. */
function decodePath(path: string): string {
  const decoded = path.includes('%')
    ? path
        .split('/')
        .map((name) => {
          try {
            return decodeURIComponent(name);
          } catch {
            return name;
          }
        })
        .join('/')
    : path;
  return decoded.includes('//') ? decoded.replaceAll(/\/+/g, '/') : decoded;
}

const NEEDS_ENCODING = /[^A-Za-z0-9/\-_.!~*'()]/;

/** One address for one file: each character that could be encoded is. */
function encodePath(path: string): string {
  return NEEDS_ENCODING.test(path) ? path.split('/').map(encodeName).join('/') : path;
}

function encodeName(name: string): string {
  try {
    return encodeURIComponent(name);
  } catch {
    return name;
  }
}
