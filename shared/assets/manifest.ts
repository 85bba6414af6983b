/**
 * What a version serves: its files by path, and its rules. A text that is searched where it lies.
 *
 * First line: the rules as JSON. Then a line for each file, `PATH\tDIGEST\tBYTES`, in the order of the paths'
 * bytes, so a path is found by bisection: a site of 20,000 files costs its text in memory and no parsing. Only
 * what stands here is ever served; a path never becomes the name of a file on a disk.
 */
import { z } from 'zod';
import type { AssetFile } from '../contracts/assets.ts';
import { digestSchema } from '../ids.ts';
import { LIMITS } from '../limits.ts';
import { headerRuleSchema, redirectSchema, type HeaderRule, type Redirect } from './rule-files.ts';

const FORM = 'isoplane-assets.1';
const LINE_FEED = 0x0a;
const TAB = 0x09;

const headSchema = z.object({
  form: z.literal(FORM),
  headers: z.array(headerRuleSchema),
  redirects: z.array(redirectSchema),
});

export interface AssetRules {
  readonly headers: readonly HeaderRule[];
  readonly redirects: readonly Redirect[];
}

/** Why a path cannot be that of an asset; undefined when it can. */
export function assetPathProblem(path: string): string | undefined {
  if (!path.startsWith('/')) return 'does not begin with a slash';
  if (Buffer.byteLength(path) > LIMITS.assetPathBytesMax)
    return `is longer than ${LIMITS.assetPathBytesMax} bytes`;
  // oxlint-disable-next-line no-control-regex -- finding control characters is the point
  if (/[\u0000-\u001f\u007f\\]/.test(path)) return 'holds a backslash or a control character';
  if (Buffer.from(path).toString() !== path) return 'is not well-formed text';
  const names = path.slice(1).split('/');
  if (names.some((name) => name === '' || name === '.' || name === '..'))
    return 'holds an empty name, . or ..';
  return undefined;
}

/** Equal files and rules give equal bytes. Paths must be distinct and have no {@link assetPathProblem}. */
export function encodeManifest(files: readonly AssetFile[], rules: AssetRules): Uint8Array<ArrayBuffer> {
  const lines = files
    .map(({ path, digest, bytes }) => ({ key: Buffer.from(path), line: `${path}\t${digest}\t${bytes}\n` }))
    .sort((left, right) => Buffer.compare(left.key, right.key));
  const head = JSON.stringify({ form: FORM, headers: rules.headers, redirects: rules.redirects });
  return new Uint8Array(Buffer.from(`${head}\n${lines.map(({ line }) => line).join('')}`));
}

export class Manifest {
  readonly rules: AssetRules;
  readonly #text: Buffer;
  readonly #filesAt: number;

  private constructor(text: Buffer, filesAt: number, rules: AssetRules) {
    this.#text = text;
    this.#filesAt = filesAt;
    this.rules = rules;
  }

  /** @param bytes - as {@link encodeManifest} made them; the digest was checked. */
  static read(bytes: Uint8Array): Manifest {
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const headEnd = text.indexOf(LINE_FEED);
    const { headers, redirects } = headSchema.parse(JSON.parse(text.toString('utf8', 0, headEnd)));
    return new Manifest(text, headEnd + 1, { headers, redirects });
  }

  find(path: string): AssetFile | undefined {
    if (path.length > LIMITS.assetPathBytesMax) return undefined;
    const wanted = Buffer.from(path);
    let low = this.#filesAt;
    let high = this.#text.byteLength;
    while (low < high) {
      const start = this.#lineStart(low, (low + high) >> 1);
      const tab = this.#text.indexOf(TAB, start);
      const order = this.#text.compare(wanted, 0, wanted.byteLength, start, tab);
      if (order === 0) return this.#fileAt(path, tab + 1);
      if (order > 0) high = start;
      else low = this.#lineEnd(tab);
    }
    return undefined;
  }

  /** Folders that hold a file of this name, each without a slash at its end: `''` is the top. */
  foldersWith(name: string): Set<string> {
    const folders = new Set<string>();
    const wanted = `/${name}\t`;
    for (let at = this.#text.indexOf(wanted, this.#filesAt); at >= 0;) {
      folders.add(this.#text.toString('utf8', this.#lineStart(this.#filesAt, at), at));
      at = this.#text.indexOf(wanted, at + wanted.length);
    }
    return folders;
  }

  files(): AssetFile[] {
    return this.#text
      .toString('utf8', this.#filesAt)
      .split('\n')
      .flatMap((line) => {
        const [path = '', digest, bytes] = line.split('\t');
        return path === '' ? [] : [{ path, digest: digestSchema.parse(digest), bytes: Number(bytes) }];
      });
  }

  /** Begin of the line that holds `at`, not before `least`. */
  #lineStart(least: number, at: number): number {
    const before = at === 0 ? -1 : this.#text.lastIndexOf(LINE_FEED, at - 1);
    return Math.max(least, before + 1);
  }

  #lineEnd(from: number): number {
    const end = this.#text.indexOf(LINE_FEED, from);
    return end < 0 ? this.#text.byteLength : end + 1;
  }

  #fileAt(path: string, from: number): AssetFile {
    const [digest, bytes] = this.#text.toString('latin1', from, this.#lineEnd(from) - 1).split('\t');
    return { path, digest: digestSchema.parse(digest), bytes: Number(bytes) };
  }
}
