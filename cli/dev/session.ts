/** All functions of a session on one platform: builds them, follows their logs, and watches their folders. */
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { functionViewSchema } from '#shared/contracts/api.ts';
import { logEntrySchema, type LogEntry } from '#shared/contracts/nodes.ts';
import type { FunctionName } from '#shared/ids.ts';
import type { ControlApi } from '../client/api.ts';
import type { Changes } from './build-runner.ts';
import { DevFunction, Names, type FunctionEvent } from './function.ts';
import type { LayerSources } from './layers.ts';
import { Watcher } from './watcher.ts';
import { projectsIn } from './workspace.ts';

export interface SessionDeps {
  readonly targets: readonly string[];
  /** Folders whose folders are projects, also those that come later. */
  readonly parents: readonly string[];
  readonly environment: string | undefined;
  readonly api: Promise<ControlApi>;
  readonly layers: LayerSources;
  readonly inspect: boolean;
  readonly onEvent: (event: FunctionEvent) => void;
  readonly onLog: (name: FunctionName, entry: LogEntry) => void;
}

/** A project is a folder with a configuration in it. */
const PROJECT_DEPTH = 1;
const LOGS_AGAIN_MS = 300;
const LOGS_FIRST = 100;

export class Session {
  #functions: readonly DevFunction[];
  readonly #names = new Names();
  readonly #deps: SessionDeps;
  readonly #startedMs = Date.now();
  readonly #closed = new AbortController();
  readonly #following = new Map<FunctionName, AbortController>();
  readonly #watchedFiles = new Set<string>();
  #watcher: Promise<Watcher> | undefined;
  #parentWatcher: Promise<Watcher> | undefined;

  constructor(deps: SessionDeps) {
    this.#deps = deps;
    this.#functions = deps.targets.map((target) => this.#functionAt(target));
  }

  get functions(): readonly DevFunction[] {
    return this.#functions;
  }

  #functionAt(target: string): DevFunction {
    const { layers, environment, inspect } = this.#deps;
    return new DevFunction({
      target,
      api: this.#emptied(),
      layers,
      environment,
      environmentOptional: this.#deps.targets.length > 1 || this.#deps.parents.length > 0,
      inspect,
      names: this.#names,
      onEvent: (event) => this.#onEvent(event),
      watch: (paths) => this.#watchAlso(paths),
      closed: this.#closed.signal,
    });
  }

  /** Resolves when every function is served or has failed once. */
  async open(): Promise<void> {
    const folders = await Promise.all(this.#deps.targets.map(folderOf));
    if (this.#closed.signal.aborted) return;
    this.#watcher = Watcher.open(
      [...folders, ...this.#deps.layers.folders.values()],
      (paths) => void this.#changed(paths),
    );
    if (this.#deps.parents.length > 0)
      this.#parentWatcher = Watcher.open(this.#deps.parents, () => void this.#look(), PROJECT_DEPTH);
    const [watcher] = await Promise.all([this.#watcher, this.saveAll(), this.#parentWatcher]);
    watcher.add([...this.#watchedFiles]);
  }

  async #changed(paths: ReadonlySet<string>): Promise<void> {
    // First: what is gone cannot be built.
    await this.#look();
    await this.saveAll(paths);
  }

  /** Takes projects in that were added beside the others, and lets go of those that were removed. */
  async #look(): Promise<void> {
    if (this.#deps.parents.length === 0) return;
    const found = (await Promise.all(this.#deps.parents.map(projectsIn))).flat();
    const watcher = await this.#watcher;
    if (this.#closed.signal.aborted || watcher === undefined) return;
    const { targets, parents } = this.#deps;
    const isBelow = (target: string): boolean => parents.includes(dirname(target));
    const named = targets.filter((target) => !isBelow(target));
    const gone = this.#functions.filter(({ target }) => !named.includes(target) && !found.includes(target));
    const known = new Set(this.#functions.map(({ target }) => target));
    const fresh = found.filter((target) => !known.has(target)).map((target) => this.#functionAt(target));
    this.#functions = [...this.#functions.filter((each) => !gone.includes(each)), ...fresh];
    for (const { target, name } of gone) {
      this.#names.release(target);
      if (name !== undefined) this.#onEvent({ type: 'renamed', from: name });
    }
    for (const each of fresh) watcher.addFolder(each.target);
    await Promise.all(fresh.map((each) => each.save()));
  }

  /** What has not changed is recognised by its digest. */
  async saveAll(changes: Changes = 'all'): Promise<void> {
    await Promise.all(this.functions.map((each) => each.save(changes)));
  }

  async close(): Promise<void> {
    this.#closed.abort();
    for (const following of this.#following.values()) following.abort();
    // Also one that is being opened: it would keep the process alive.
    await Promise.all([this.#watcher, this.#parentWatcher].map(async (each) => (await each)?.close()));
  }

  #platform: Promise<ControlApi> | undefined;

  /** Without the functions of the session before: they may be gone, or not build any more. */
  #emptied(): Promise<ControlApi> {
    this.#platform ??= (async () => {
      const api = await this.#deps.api;
      for (const { name } of await api.list(api.path('/functions'), functionViewSchema))
        await api.send(api.path(`/functions/${name}`), { method: 'DELETE' });
      return api;
    })();
    // Whoever waits for it is told.
    this.#platform.catch(() => undefined);
    return this.#platform;
  }

  #onEvent(event: FunctionEvent): void {
    if (event.type === 'renamed') void this.#forget(event.from);
    if (event.type === 'served') {
      this.#follow(event.project.name);
      const { assetsFolder } = event.project;
      const read = assetsFolder === undefined ? event.bundle.inputs : [...event.bundle.inputs, assetsFolder];
      this.#watchAlso(read);
    }
    this.#deps.onEvent(event);
  }

  #watchAlso(paths: readonly string[]): void {
    const fresh = paths.filter((path) => !this.#watchedFiles.has(path));
    for (const path of fresh) this.#watchedFiles.add(path);
    void this.#watcher?.then((watcher) => watcher.add(fresh));
  }

  async #forget(name: FunctionName): Promise<void> {
    this.#following.get(name)?.abort();
    this.#following.delete(name);
    const api = await this.#deps.api;
    await api.send(api.path(`/functions/${name}`), { method: 'DELETE' }).catch(() => undefined);
  }

  #follow(name: FunctionName): void {
    if (this.#following.has(name)) return;
    const stop = new AbortController();
    this.#following.set(name, stop);
    void (async () => {
      const api = await this.#deps.api;
      // What it said between its first request and this call; nothing of sessions before.
      let tail = LOGS_FIRST;
      while (!stop.signal.aborted) {
        try {
          const path = api.path(`/functions/${name}/logs?follow=1&tail=${tail}`);
          tail = 0;
          for await (const entry of api.lines(path, logEntrySchema, stop.signal))
            if (entry.atMs >= this.#startedMs) this.#deps.onLog(name, entry);
        } catch {
          // The node or control is being replaced.
        }
        await new Promise((resolve) => setTimeout(resolve, LOGS_AGAIN_MS));
      }
    })();
  }
}

async function folderOf(target: string): Promise<string> {
  return (await stat(target)).isDirectory() ? target : dirname(target);
}
