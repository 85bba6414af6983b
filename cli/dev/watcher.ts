/** Says when something in the folders of the session has changed and is at rest. */
import { basename, relative, sep } from 'node:path';
import { watch, type FSWatcher } from 'chokidar';
import { REDIRECT } from '../project/sources.ts';

/** Editors write a file in several steps; one build after the last of them is enough. */
const SETTLE_MS = 40;
/** While files keep changing, as under a checkout, a build starts this long after the first all the same. */
const SETTLE_MS_MAX = 1_000;
const IGNORED = new Set(['node_modules', '.isoplane', '.git', '.hg', '.svn', '.wrangler']);

export class Watcher {
  readonly #watcher: FSWatcher;
  /** Those that are watched whole, but for what is ignored in them. */
  readonly #folders: string[];
  readonly #onChange: (paths: ReadonlySet<string>) => void;
  #changed = new Set<string>();
  #sinceMs: number | undefined;
  #timer: NodeJS.Timeout | undefined;

  private constructor(watcher: FSWatcher, folders: string[], onChange: (paths: ReadonlySet<string>) => void) {
    this.#watcher = watcher;
    this.#folders = folders;
    this.#onChange = onChange;
    watcher.on('all', (_event, path) => this.#note(path));
    // Of a single file or folder, such as one that must not be read: the others are watched on.
    watcher.on('error', () => undefined);
  }

  /**
   * Resolves when every folder is watched.
   *
   * @param depth - levels of folders below each that are looked into; default: all.
   */
  static async open(
    given: readonly string[],
    onChange: (paths: ReadonlySet<string>) => void,
    depth?: number,
  ): Promise<Watcher> {
    const folders = [...given];
    const watcher = watch([...folders], {
      ignoreInitial: true,
      ...(depth === undefined ? {} : { depth }),
      ignored: (path) => folders.some((folder) => isIgnored(folder, path)),
      followSymlinks: true,
    });
    const ready = new Promise<void>((resolve) => watcher.once('ready', () => resolve()));
    const self = new Watcher(watcher, folders, onChange);
    await ready;
    return self;
  }

  addFolder(path: string): void {
    this.#folders.push(path);
    this.#watcher.add(path);
  }

  /** What the code was built from; of that, what lies outside the folders. */
  add(paths: readonly string[]): void {
    const outside = paths.filter((path) => !this.#folders.some((folder) => path.startsWith(folder + sep)));
    if (outside.length > 0) this.#watcher.add(outside);
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#watcher.close();
  }

  #note(path: string): void {
    this.#changed.add(path);
    const nowMs = performance.now();
    this.#sinceMs ??= nowMs;
    clearTimeout(this.#timer);
    const leftMs = this.#sinceMs + SETTLE_MS_MAX - nowMs;
    this.#timer = setTimeout(() => this.#flush(), Math.max(0, Math.min(SETTLE_MS, leftMs)));
  }

  #flush(): void {
    const changed = this.#changed;
    this.#changed = new Set();
    this.#sinceMs = undefined;
    this.#onChange(changed);
  }
}

/** By the parts below the folder alone: the folder itself may lie anywhere. */
function isIgnored(folder: string, path: string): boolean {
  const below = relative(folder, path);
  if (below.startsWith('..')) return false;
  // Builds of frameworks write it last.
  if (`${REDIRECT}/`.startsWith(`${below.split(sep).join('/')}/`)) return false;
  return below.split(sep).some((part) => IGNORED.has(part)) || basename(path).endsWith('~');
}
