/**
 * Patterns of `_headers`, `_redirects` and `runWorkerFirst`, matched in time linear in the path.
 *
 * Whoever deploys writes them and whoever calls chooses the path, so no regular expression runs here: several
 * wildcards or placeholders beside each other would make one take polynomial time. What such an expression
 * would find is found all the same: `*` takes as much as it can (`splat`), `:name` as much as it can within its
 * segment (within its label, in a host).
 */

export type Captures = Readonly<Record<string, string>>;
const NOTHING_CAPTURED: Captures = {};

interface Text {
  readonly kind: 'text';
  readonly text: string;
  /** Undefined for a short one. */
  readonly borders: Uint16Array | undefined;
}
interface Placeholder {
  readonly kind: 'placeholder';
  readonly name: string;
}
type Token = Text | Placeholder;
/** Tokens between two slashes. */
type Segment = readonly Token[];

export interface RulePattern {
  /** Whole segments before the one that holds the splat, or all. */
  readonly before: readonly Segment[];
  readonly splat:
    | {
        /** Text of the splat's own segment, on both sides of it. */
        readonly head: string;
        readonly tail: string;
        readonly after: readonly Segment[];
      }
    | undefined;
  /** Begins with `https://`: matched with the host. */
  readonly withHost: boolean;
}

const PLACEHOLDER = /:([A-Za-z]\w*)/g;
const HOST_AT = 2;

const textOf = (text: string): Text => ({ kind: 'text', text, borders: bordersOf(text) });

function segmentOf(text: string): Segment {
  const tokens: Token[] = [];
  let from = 0;
  for (const match of text.matchAll(PLACEHOLDER)) {
    if (match.index > from) tokens.push(textOf(text.slice(from, match.index)));
    tokens.push({ kind: 'placeholder', name: match[1] ?? '' });
    from = match.index + match[0].length;
  }
  if (from < text.length) tokens.push(textOf(text.slice(from)));
  return tokens;
}

export function isDynamic(rule: string): boolean {
  return rule.includes('*') || rule.search(PLACEHOLDER) >= 0;
}

function namesIn(segments: readonly Segment[]): string[] {
  return segments.flatMap((segment) =>
    segment.flatMap((token) => (token.kind === 'placeholder' ? [token.name] : [])),
  );
}

/** The pattern, or why there is none. */
export function compileRule(rule: string): RulePattern | { readonly problem: string } {
  const withHost = rule.startsWith('https://');
  const parts = rule.split('/');
  const splatAt = parts.findIndex((part) => part.includes('*'));
  const wildcards = rule.split('*').length - 1;
  if (wildcards > 1)
    return {
      problem: `Only one wildcard is allowed per rule. Use a named placeholder (e.g. :project) instead.`,
    };
  const own = parts[splatAt];
  if (own === undefined) {
    const before = parts.map(segmentOf);
    const twice = repeated(namesIn(before));
    return twice === undefined ? { before, splat: undefined, withHost } : { problem: twice };
  }
  const before = parts.slice(0, splatAt).map(segmentOf);
  const after = parts.slice(splatAt + 1).map(segmentOf);
  if (own.search(PLACEHOLDER) >= 0)
    return { problem: 'A wildcard and a placeholder cannot stand in the same segment.' };
  const twice = repeated([...namesIn(before), ...namesIn(after), 'splat']);
  if (twice !== undefined) return { problem: twice };
  const [head = '', tail = ''] = own.split('*');
  return { before, splat: { head, tail, after }, withHost };
}

function repeated(names: readonly string[]): string | undefined {
  const seen = new Set<string>();
  const twice = names.find((name) => seen.size === seen.add(name).size);
  return twice === undefined
    ? undefined
    : `The placeholder :${twice} is used twice (a wildcard is called :splat).`;
}

const SHORT = 16;

/** Of each beginning of the text, the length of the longest other beginning that it ends with (Knuth, Morris, Pratt). */
function bordersOf(text: string): Uint16Array | undefined {
  if (text.length <= SHORT) return undefined;
  const borders = new Uint16Array(text.length);
  for (let at = 1, length = 0; at < text.length; at += 1) {
    while (length > 0 && text[at] !== text[length]) length = borders[length - 1] ?? 0;
    if (text[at] === text[length]) length += 1;
    borders[at] = length;
  }
  return borders;
}

/**
 * As of strings, but in linear time: engines compare each place from its begin, which took a third of a second for the
 * rules of one site.
 */
function lastIndexOf(text: string, { text: wanted, borders }: Text, from: number): number {
  if (borders === undefined) return text.lastIndexOf(wanted, from);
  let last = -1;
  const reach = Math.min(text.length, Math.max(0, from) + wanted.length);
  for (let at = 0, length = 0; at < reach; at += 1) {
    while (length > 0 && text[at] !== wanted[length]) length = borders[length - 1] ?? 0;
    if (text[at] === wanted[length]) length += 1;
    if (length < wanted.length) continue;
    last = at + 1 - length;
    length = borders[length - 1] ?? 0;
  }
  return last;
}

/**
 * Anchored at both ends. From the right, each text stands as far right as it can: that leaves the most to the
 * placeholders before it, as greedy matching does.
 */
function matchSegment(
  segment: Segment,
  text: string,
  captures: Record<string, string>,
  dots: boolean,
): boolean {
  let end = text.length;
  for (let index = segment.length - 1; index >= 0; index -= 1) {
    const token = segment[index];
    if (token === undefined) return false;
    if (token.kind === 'text') {
      // Only a text at the end, or one directly before such a text, comes here: others are found below.
      if (!text.slice(0, end).endsWith(token.text)) return false;
      end -= token.text.length;
      continue;
    }
    const before = segment[index - 1];
    let start = 0;
    if (before?.kind === 'text') {
      const at = lastIndexOf(text, before, end - 1 - before.text.length);
      if (at < 0) return false;
      start = index === 1 ? before.text.length : at + before.text.length;
      if (index === 1 && !text.startsWith(before.text)) return false;
    } else if (before !== undefined) start = end - 1;
    const value = text.slice(start, end);
    if (value === '' || end <= start || (!dots && value.includes('.'))) return false;
    captures[token.name] = value;
    end = start;
  }
  return end === 0;
}

function segmentsMatch(
  segments: readonly Segment[],
  parts: readonly string[],
  from: number,
  { captures, withHost }: { readonly captures: Record<string, string>; readonly withHost: boolean },
): boolean {
  return segments.every((segment, index) => {
    const part = parts[from + index];
    return (
      part !== undefined && matchSegment(segment, part, captures, !(withHost && from + index === HOST_AT))
    );
  });
}

function matchParts(pattern: RulePattern, { whole, parts }: SplitText): Captures | undefined {
  const { before, splat, withHost } = pattern;
  if (splat === undefined && parts.length !== before.length) return undefined;
  const captures: Record<string, string> = {};
  if (!segmentsMatch(before, parts, 0, { captures, withHost })) return undefined;
  if (splat === undefined) return Object.keys(captures).length === 0 ? NOTHING_CAPTURED : captures;
  const { head, tail, after } = splat;
  const afterAt = parts.length - after.length;
  if (afterAt <= before.length) return undefined;
  if (!segmentsMatch(after, parts, afterAt, { captures, withHost: false })) return undefined;
  const middle = whole.slice(lengthOf(parts, 0, before.length), whole.length - lengthOf(parts, afterAt));
  if (middle.length < head.length + tail.length || !middle.startsWith(head) || !middle.endsWith(tail))
    return undefined;
  captures['splat'] = middle.slice(head.length, middle.length - tail.length);
  return captures;
}

export interface MatchedUrl {
  readonly hostname: string;
  /** As it was asked for: percent-encoded. */
  readonly path: string;
}

interface SplitText {
  readonly whole: string;
  /** Split at slashes. */
  readonly parts: readonly string[];
}

/** Of the parts from one to before another, each with a slash. */
function lengthOf(parts: readonly string[], from: number, to = parts.length): number {
  let length = 0;
  for (let index = from; index < to; index += 1) length += 1 + (parts[index]?.length ?? 0);
  return length;
}

/** A URL that many rules are asked about: it is split once, however many segments a caller gives it. */
export class SplitUrl {
  readonly hostname: string;
  readonly path: string;
  #alone: SplitText | undefined;
  #withHost: SplitText | undefined;

  constructor({ hostname, path }: MatchedUrl) {
    this.hostname = hostname;
    this.path = path;
  }

  get alone(): SplitText {
    return (this.#alone ??= splitText(this.path));
  }

  get withHost(): SplitText {
    return (this.#withHost ??= splitText(`https://${this.hostname}${this.path}`));
  }
}

const splitText = (whole: string): SplitText => ({ whole, parts: whole.split('/') });

/** What the pattern's wildcard and placeholders stand for; undefined when it does not match. */
export function matchRule(pattern: RulePattern, url: SplitUrl): Captures | undefined {
  return matchParts(pattern, pattern.withHost ? url.withHost : url.alone);
}

/** Replaces `:name`; the longest names first, so that `:id` does not take the begin of `:idea`. */
export function fillIn(text: string, captures: Captures): string {
  if (captures === NOTHING_CAPTURED || !text.includes(':')) return text;
  return text.replaceAll(PLACEHOLDER, (whole, name: string) => captures[name] ?? whole);
}

/** `*` stands for anything, any number of times. */
export function matchGlob(glob: string, path: string): boolean {
  const pieces = glob.split('*');
  const [first = ''] = pieces;
  if (pieces.length === 1) return glob === path;
  const last = pieces.at(-1) ?? '';
  if (!path.startsWith(first) || path.length < first.length + last.length || !path.endsWith(last))
    return false;
  let at = first.length;
  const end = path.length - last.length;
  for (const piece of pieces.slice(1, -1)) {
    const found = path.indexOf(piece, at);
    if (found < 0 || found + piece.length > end) return false;
    at = found + piece.length;
  }
  return true;
}
