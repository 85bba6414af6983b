/**
 * Reads `_headers` and `_redirects` (https://developers.cloudflare.com/workers/static-assets/headers/ and
 * /redirects/). Pure: a line that cannot be used is skipped and told, as wrangler does, so that one mistake
 * does not keep a site from being published. Rules over a limit are told as well; the platform refuses those.
 */
import { z } from 'zod';
import { LIMITS } from '../limits.ts';
import { compileRule, isDynamic } from './pattern.ts';

export const redirectSchema = z.object({ from: z.string(), to: z.string(), status: z.number().int() });
export const headerRuleSchema = z.object({
  path: z.string(),
  /** Names are lower case. */
  set: z.array(z.tuple([z.string(), z.string()])),
  unset: z.array(z.string()),
});

export type Redirect = z.infer<typeof redirectSchema>;
export type HeaderRule = z.infer<typeof headerRuleSchema>;

export interface RuleProblem {
  readonly line: number;
  readonly message: string;
  /** There is no room for the rule; it is not a slip of the pen. */
  readonly overLimit: boolean;
}

export interface ReadRules<T> {
  readonly rules: readonly T[];
  readonly problems: readonly RuleProblem[];
}

const STATUSES = new Set([200, 301, 302, 303, 307, 308]);
const TO_INDEX = /\/index(?:\.html)?$/;
const ABSOLUTE = /^https:\/\/+(?<host>[^/]+)\/?(?<path>.*)/;
const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9a-z-]+$/;
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
/** What frames a message, or what the platform alone says. */
const RESERVED_HEADERS = new Set([
  'connection',
  'content-length',
  'date',
  'keep-alive',
  'proxy-authenticate',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** `relative:` keeps what URL does to paths and needs no host. */
function pathOf(path: string, withSearch: boolean): string {
  const url = new URL(`//${path.startsWith('/') ? path : `/${path}`}`, 'relative://');
  return withSearch ? `${url.pathname}${url.search}${url.hash}` : url.pathname;
}

type ReadUrl = { readonly url: string } | { readonly problem: string };

function readUrl(token: string, kind: 'from' | 'to' | 'header'): ReadUrl {
  const withSearch = kind === 'to';
  const absolute = ABSOLUTE.exec(token)?.groups;
  try {
    if (absolute?.['host'] !== undefined) {
      if (kind === 'from') return { problem: `Only relative URLs are allowed, not ${token}.` };
      if (kind === 'header' && /:\d+$/.test(absolute['host']))
        return { problem: `Ports are not supported in ${token}.` };
      return { url: `https://${absolute['host']}${pathOf(absolute['path'] ?? '', withSearch)}` };
    }
    if (token.startsWith('/') || kind === 'from') return { url: pathOf(token, withSearch) };
  } catch {
    return { problem: `${token} is not a URL.` };
  }
  return { problem: `A URL begins with a slash or with https://, not as ${token} does.` };
}

interface Lines {
  readonly problems: RuleProblem[];
  readonly lines: readonly {
    readonly text: string;
    readonly number: number;
    /** Spaces came before the text. */
    readonly indented: boolean;
  }[];
}

function linesOf(text: string): Lines {
  const problems: RuleProblem[] = [];
  const lines = text.split('\n').flatMap((raw, index) => {
    const line = { text: raw.trim(), number: index + 1, indented: /^\s/.test(raw) };
    if (line.text === '' || line.text.startsWith('#')) return [];
    if (line.text.length <= LIMITS.assetRuleLineBytesMax) return [line];
    const message = `The line is longer than ${LIMITS.assetRuleLineBytesMax} characters.`;
    problems.push({ line: line.number, message, overLimit: true });
    return [];
  });
  return { problems, lines };
}

export interface ReadRedirects {
  readonly rules: readonly Redirect[];
  readonly problems: readonly RuleProblem[];
}

/** Cut at the first `#` behind a space. */
function withoutComment(text: string): string {
  for (let at = text.indexOf('#'); at >= 0; at = text.indexOf('#', at + 1))
    if (/\s/.test(text.charAt(at - 1))) return text.slice(0, at).trimEnd();
  return text;
}

/** Without search and hash. */
function pathIn(url: string): string {
  const end = url.search(/[?#]/);
  return end < 0 ? url : url.slice(0, end);
}

function readRedirect(text: string, htmlHandling: boolean): Redirect | { readonly problem: string } {
  const tokens = withoutComment(text).split(/\s+/);
  const [fromToken = '', toToken = '', statusToken = '302'] = tokens;
  if (tokens.length < 2 || tokens.length > 3)
    return { problem: `Expected 2 or 3 words (from, to, status), found ${tokens.length}.` };
  const from = readUrl(fromToken, 'from');
  if ('problem' in from) return from;
  const to = readUrl(toToken, 'to');
  if ('problem' in to) return to;
  const status = Number(statusToken);
  if (!STATUSES.has(status))
    return { problem: `The status is one of ${[...STATUSES].join(', ')}, not ${statusToken}.` };
  const toHost = to.url.startsWith('https://');
  if (
    !toHost &&
    TO_INDEX.test(to.url) &&
    (from.url.endsWith('/*') || (from.url.endsWith('/') && htmlHandling))
  )
    return { problem: 'This rule would lead to itself: html handling drops /index and .html.' };
  // A rewrite to itself serves the file; search and hash of the target do not keep it from being matched again.
  if (status !== 200 && pathIn(to.url).replace(/:splat$/, '*') === from.url)
    return { problem: `This rule would lead from ${from.url} to itself, without end.` };
  if (status === 200 && toHost)
    return { problem: 'A rewrite (200) leads to a path of the same site, not to another host.' };
  return { from: from.url, to: to.url, status };
}

/** @param htmlHandling - false when `htmlHandling` is `none`: then a rule to /index.html leads nowhere else. */
export function readRedirects(
  text: string,
  { htmlHandling }: { readonly htmlHandling: boolean },
): ReadRedirects {
  const { lines, problems } = linesOf(text);
  const rules: Redirect[] = [];
  const seen = new Set<string>();
  const counts = { fixed: 0, dynamic: 0 };
  for (const { text: line, number } of lines) {
    const say = (message: string, overLimit = false): void =>
      void problems.push({ line: number, message, overLimit });
    const rule = readRedirect(line, htmlHandling);
    if ('problem' in rule) {
      say(rule.problem);
      continue;
    }
    if (seen.has(rule.from)) {
      say(`There is a rule for ${rule.from} already.`);
      continue;
    }
    if (isDynamic(rule.from)) {
      const compiled = compileRule(rule.from);
      if ('problem' in compiled) {
        say(compiled.problem);
        continue;
      }
    }
    // Order decides between rules with wildcards, so those that come after one are counted with them.
    const kind = counts.dynamic > 0 || isDynamic(rule.from) ? 'dynamic' : 'fixed';
    const most = kind === 'fixed' ? LIMITS.assetStaticRedirectsMax : LIMITS.assetDynamicRedirectsMax;
    if (counts[kind] >= most) {
      say(
        kind === 'fixed'
          ? `At most ${most} redirects without a wildcard or placeholder are allowed.`
          : `At most ${most} redirects are allowed from the first one with a wildcard or placeholder on.`,
        true,
      );
      continue;
    }
    counts[kind] += 1;
    seen.add(rule.from);
    rules.push(rule);
  }
  return { rules, problems };
}

function readHeaderLine(
  line: string,
):
  | { readonly unset: string }
  | { readonly name: string; readonly value: string }
  | { readonly problem: string } {
  const colon = line.indexOf(':');
  if (colon < 0) {
    if (!line.startsWith('! ')) return { problem: 'Expected `name: value`, or `! name` to remove a header.' };
    return { unset: line.slice(2).trim().toLowerCase() };
  }
  const name = line.slice(0, colon).trim().toLowerCase();
  const value = line.slice(colon + 1).trim();
  if (value === '') return { problem: `The header ${name} has no value.` };
  if (!HEADER_NAME.test(name)) return { problem: `${JSON.stringify(name)} is not the name of a header.` };
  if (!HEADER_VALUE.test(value))
    return { problem: `The value of ${name} holds characters that no header may.` };
  if (RESERVED_HEADERS.has(name) || name.startsWith('isoplane-'))
    return { problem: `The header ${name} is set by the platform alone.` };
  return { name, value };
}

interface OpenRule {
  readonly path: string;
  readonly line: number;
  readonly set: Map<string, string>;
  readonly unset: string[];
}

/** A rule begins with a line that looks like a path or URL; header lines follow until the next. */
class HeaderRules {
  readonly rules: HeaderRule[] = [];
  readonly problems: RuleProblem[];
  #open: OpenRule | undefined;
  #headers = 0;
  /** The path before could not be used: its headers are not those of the rule before. */
  #skipping = false;

  constructor(problems: RuleProblem[]) {
    this.problems = problems;
  }

  #say(line: number, message: string, overLimit = false): void {
    this.problems.push({ line, message, overLimit });
  }

  begin(text: string, line: number): void {
    this.finish();
    const read = readUrl(text, 'header');
    const compiled = 'problem' in read ? read : compileRule(read.url);
    this.#skipping = 'problem' in compiled;
    if ('problem' in compiled) return this.#say(line, `${compiled.problem} ${WITH_ITS_HEADERS}`);
    this.#open = { path: 'url' in read ? read.url : '', line, set: new Map(), unset: [] };
  }

  /** A word at the beginning of a line is meant as a path: the headers below it are none of the rule before. */
  beginWord(text: string, line: number): void {
    this.finish();
    this.#skipping = true;
    this.#say(
      line,
      `A path begins with a slash or with https://, not as ${text} does (a header is \`name: value\`, or \`! name\` to remove one). ${WITH_ITS_HEADERS}`,
    );
  }

  header(text: string, line: number): void {
    if (this.#skipping) return;
    if (this.#open === undefined) return this.#say(line, 'A path comes before its headers.');
    if (this.#headers >= LIMITS.assetHeadersMax) {
      // Said once: a file may have a hundred thousand.
      if (this.#headers === LIMITS.assetHeadersMax)
        this.#say(line, `At most ${LIMITS.assetHeadersMax} headers are allowed in all rules.`, true);
      this.#headers += 1;
      return;
    }
    const read = readHeaderLine(text);
    if ('problem' in read) return this.#say(line, read.problem);
    this.#headers += 1;
    if ('unset' in read) return void this.#open.unset.push(read.unset);
    const before = this.#open.set.get(read.name);
    this.#open.set.set(read.name, before === undefined ? read.value : `${before}, ${read.value}`);
  }

  finish(): void {
    const open = this.#open;
    this.#open = undefined;
    if (open === undefined) return;
    if (open.set.size === 0 && open.unset.length === 0) this.#say(open.line, 'The rule has no headers.');
    else if (this.rules.length >= LIMITS.assetHeaderRulesMax)
      this.#say(open.line, `At most ${LIMITS.assetHeaderRulesMax} rules are allowed.`, true);
    else this.rules.push({ path: open.path, set: [...open.set], unset: open.unset });
  }
}

const WITH_ITS_HEADERS = 'The headers below it are skipped too.';
const LOOKS_LIKE_A_PATH = /^(?:[^\s]+:\/\/|\/)/;
const IS_A_WORD = /^[^\s:!]+$/;

export function readHeaderRules(text: string): ReadRules<HeaderRule> {
  const { lines, problems } = linesOf(text);
  const reader = new HeaderRules(problems);
  for (const line of lines)
    if (LOOKS_LIKE_A_PATH.test(line.text)) reader.begin(line.text, line.number);
    else if (!line.indented && IS_A_WORD.test(line.text)) reader.beginWord(line.text, line.number);
    else reader.header(line.text, line.number);
  reader.finish();
  return { rules: reader.rules, problems };
}
