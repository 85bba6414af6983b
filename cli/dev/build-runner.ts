/** The build command of one project of a session: run at its start, and again when what it reads has changed. */
import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { runBuild } from '../commands/custom-build.ts';
import type { BuildStep } from '../project/project.ts';

/** Larger files are compared by size and time of change. */
const READ_BYTES_MAX = 1024 * 1024;
/** Beyond these a change counts although nothing may be different. */
const FILES_MAX = 20_000;
const NOT_READ = new Set(['node_modules', '.git', '.isoplane', '.wrangler']);

/** What changed; `all`: nobody knows. */
export type Changes = ReadonlySet<string> | 'all';

export class BuildRunner {
  readonly #environment: string | undefined;
  readonly #watch: (paths: readonly string[]) => void;
  readonly #closed: AbortSignal;
  /** The last one, with what it read. */
  #last: { readonly step: string; readonly digest: string; readonly failure?: Error } | undefined;

  constructor(options: {
    readonly environment: string | undefined;
    /** Paths whose changes are to be told. */
    readonly watch: (paths: readonly string[]) => void;
    readonly closed: AbortSignal;
  }) {
    this.#environment = options.environment;
    this.#watch = options.watch;
    this.#closed = options.closed;
  }

  /** @throws {CliError} `build_failed`; the same one again while nothing that the build reads has changed. */
  async run(step: BuildStep | undefined, changes: Changes): Promise<void> {
    if (step === undefined) {
      this.#last = undefined;
      return;
    }
    this.#watch(step.watch);
    const key = JSON.stringify(step);
    const last = this.#last?.step === key && changes !== 'all' ? this.#last : undefined;
    if (last !== undefined && !isWithin(step.watch, changes)) return settled(last);
    const digest = await digestOf(step.watch);
    // A build that writes where it reads would otherwise start itself again without end.
    if (last?.digest === digest) return settled(last);
    try {
      await runBuild(step, { environment: this.#environment, signal: this.#closed });
      this.#last = { step: key, digest };
    } catch (thrown) {
      const failure = thrown instanceof Error ? thrown : new Error('the build failed', { cause: thrown });
      this.#last = { step: key, digest, failure };
      throw failure;
    }
  }
}

function settled({ failure }: { readonly failure?: Error }): void {
  if (failure !== undefined) throw failure;
}

function isWithin(folders: readonly string[], changes: Changes): boolean {
  if (changes === 'all') return true;
  return [...changes].some((path) =>
    folders.some((folder) => path === folder || path.startsWith(folder + sep)),
  );
}

/** Of everything below the paths; never the same twice where there is too much to compare. */
async function digestOf(paths: readonly string[]): Promise<string> {
  const hash = createHash('sha256');
  let left = FILES_MAX;
  const add = async (path: string): Promise<void> => {
    const info = await stat(path).catch(() => undefined);
    if (info === undefined || left <= 0) return;
    hash.update(`${path}\0`);
    if (info.isDirectory()) {
      const names = (await readdir(path).catch(() => [])).filter((name) => !NOT_READ.has(name));
      for (const name of names.toSorted()) await add(join(path, name));
      return;
    }
    left -= 1;
    if (info.size > READ_BYTES_MAX) hash.update(`${info.size} ${info.mtimeMs}\0`);
    else hash.update(await readFile(path).catch(() => ''));
  };
  for (const path of paths) await add(path);
  return left <= 0 ? crypto.randomUUID() : hash.digest('hex');
}
