/**
 * The project under miniflare, rebuilt on save.
 *
 * What is the same as on a node: bundle, entry module, compatibility settings, variables, layers, egress rules.
 * What is not: callers are not authenticated, limits are not enforced, there is no sandbox, outbound requests
 * reach this machine too and carry no secrets.
 */
import { watch, type FSWatcher } from 'node:fs';
import process from 'node:process';
import type { Hooks } from '#shared/contracts/config.ts';
import type { Readable } from 'node:stream';
import { context as createBuild, type BuildContext, type BuildResult } from 'esbuild';
import { HttpOptions_Style, Miniflare, Response as MiniflareResponse } from 'miniflare';
import { loadEntryModules, type EntryModules } from '#nodes/entry/pack.node.ts';
import { bundleFailure, esbuildOptions, type BundledModule } from '../bundle/bundle.ts';
import { readProject } from '../project/read-project.ts';
import type { Project } from '../project/project.ts';
import { workerdBinary } from '../workerd-binary.ts';
import { lineText } from './console-line.ts';
import { DevEgress } from './egress.ts';
import { miniflareModules, type NamedModule } from './workerd-modules.ts';

const ALS_FLAGS = ['nodejs_als', 'nodejs_compat', 'nodejs_compat_v2'];
const MAIN = 'index.js';
/** Editors write a file in several steps; one reload after the last of them is enough. */
const SAVE_SETTLE_MS = 100;

export interface DevOptions {
  readonly target: string;
  readonly port: number;
  /** Layer modules of the project; called again when its configuration changes. */
  readonly layersOf: (project: Project) => Promise<readonly NamedModule[]>;
  readonly onEvent: (event: DevEvent) => void;
}

export type DevEvent =
  | { readonly type: 'ready'; readonly url: string; readonly reloaded: boolean; readonly tookMs: number }
  | { readonly type: 'console'; readonly text: string }
  | { readonly type: 'failed'; readonly error: unknown };

export interface DevServer {
  readonly url: string;
  close(): Promise<void>;
}

/** What a developer would otherwise wait for: instances of dev are not started and stopped as a node does. */
export function hooksNote(hooks: Hooks): string | undefined {
  const names = Object.keys(hooks);
  return names.length === 0 ? undefined : `dev runs no hooks; configured here: ${names.join(', ')}`;
}

/** Fails when the first build or start fails; later failures are events, and the last good code keeps serving. */
export async function startDev(options: DevOptions): Promise<DevServer> {
  // The platform's own workerd: miniflare's is older and knows fewer compatibility dates.
  process.env['MINIFLARE_WORKERD_PATH'] ??= workerdBinary();
  const egress = await DevEgress.open((text) => options.onEvent({ type: 'console', text }));
  const session = new Session(options, await loadEntryModules(), egress);
  try {
    await session.open();
  } catch (thrown) {
    await session.close();
    throw thrown;
  }
  return { url: session.url, close: () => session.close() };
}

/** The other function is not here: calls say so, instead of `env` lacking the name. */
function absentService({ binding, function: name }: Project['config']['services'][number]) {
  const problem = `isoplane dev runs one function: ${binding} (function ${name}) is bound after deployment only.`;
  return [binding, () => new MiniflareResponse(problem, { status: 501 })] as const;
}

class Session {
  readonly #options: DevOptions;
  readonly #entry: EntryModules;
  readonly #egress: DevEgress;
  #build: BuildContext | undefined;
  #runtime: Miniflare | undefined;
  #configWatch: FSWatcher | undefined;
  #port: number;
  #map: Uint8Array | undefined;
  #url = '';
  #closed = false;
  /** One reload at a time, in order of the builds. */
  #queue: Promise<void> = Promise.resolve();

  constructor(options: DevOptions, entry: EntryModules, egress: DevEgress) {
    this.#options = options;
    this.#entry = entry;
    this.#egress = egress;
    this.#port = options.port;
  }

  get url(): string {
    return this.#url;
  }

  async open(): Promise<void> {
    const project = await readProject(this.#options.target);
    await this.#openBuild(project, 'first');
    let timer: NodeJS.Timeout | undefined;
    this.#configWatch = watch(project.root, (_event, name) => {
      if (name === null || !project.configPath.endsWith(`/${name}`)) return;
      clearTimeout(timer);
      timer = setTimeout(() => void this.#enqueue(() => this.#reopen()), SAVE_SETTLE_MS);
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#configWatch?.close();
    await this.#build?.dispose();
    await this.#queue;
    await this.#runtime?.dispose();
    await this.#egress.close();
  }

  #enqueue(work: () => Promise<void>): Promise<void> {
    const before = this.#queue;
    const next = async (): Promise<void> => {
      await before;
      if (this.#closed) return;
      try {
        await work();
      } catch (error) {
        this.#options.onEvent({ type: 'failed', error });
      }
    };
    this.#queue = next();
    return this.#queue;
  }

  async #reopen(): Promise<void> {
    const project = await readProject(this.#options.target);
    await this.#build?.dispose();
    await this.#openBuild(project, 'again');
  }

  async #openBuild(project: Project, which: 'first' | 'again'): Promise<void> {
    const layers = await this.#options.layersOf(project);
    const modules = new Map<string, BundledModule>();
    const options = esbuildOptions(project, modules);
    let builds = 0;
    const reload = (result: BuildResult): void => {
      builds += 1;
      // The first build is awaited by the caller; from then on watching drives.
      if (builds === 1) return;
      void this.#enqueue(() => this.#serve(project, layers, modules, result));
    };
    this.#build = await createBuild({
      ...options,
      plugins: [
        ...(options.plugins ?? []),
        { name: 'isoplane-reload', setup: (build) => build.onEnd(reload) },
      ],
    });
    try {
      const result = await this.#build.rebuild();
      await this.#serve(project, layers, modules, result);
    } catch (thrown) {
      if (which === 'first') {
        await this.#build.dispose();
        throw bundleFailure(thrown);
      }
      this.#options.onEvent({ type: 'failed', error: bundleFailure(thrown) });
    }
    // Watching starts with a build of its own, which is recognised below as unchanged.
    await this.#build.watch();
  }

  #lastCode = '';

  async #serve(
    project: Project,
    layers: readonly NamedModule[],
    separate: ReadonlyMap<string, BundledModule>,
    result: BuildResult,
  ): Promise<void> {
    if (result.errors.length > 0) throw bundleFailure(result);
    const code = result.outputFiles?.find((file) => file.path.endsWith(MAIN));
    if (code === undefined) return;
    const key = JSON.stringify([code.hash, [...separate.keys()].sort(), project.config]);
    if (key === this.#lastCode) return;
    const startedMs = performance.now();
    this.#map = result.outputFiles?.find((file) => file.path.endsWith('.map'))?.contents;
    const modules = [
      { name: MAIN, type: 'esm' as const, content: code.contents },
      ...separate.values(),
      ...layers,
    ];
    const proxy = await this.#egress.serve(project.name, project.config);
    const options = this.#miniflareOptions(project, modules, proxy);
    const reloaded = this.#runtime !== undefined;
    if (this.#runtime === undefined) this.#runtime = new Miniflare(options);
    else await this.#runtime.setOptions(options);
    const url = await this.#runtime.ready;
    this.#port = Number(url.port);
    this.#url = url.origin;
    this.#lastCode = key;
    this.#options.onEvent({ type: 'ready', url: this.#url, reloaded, tookMs: performance.now() - startedMs });
  }

  #miniflareOptions(
    project: Project,
    modules: readonly NamedModule[],
    proxy: string | undefined,
  ): ConstructorParameters<typeof Miniflare>[0] {
    const { compatibilityDate, compatibilityFlags: flags, vars, kv, services } = project.config;
    return {
      name: project.name,
      host: '127.0.0.1',
      port: this.#port,
      modulesRoot: '/',
      modules: miniflareModules(this.#entry, project, MAIN, modules),
      compatibilityDate,
      compatibilityFlags: flags.some((flag) => ALS_FLAGS.includes(flag)) ? flags : [...flags, 'nodejs_als'],
      bindings: vars,
      // Of this run alone: gone when it ends.
      kvNamespaces: Object.fromEntries(kv.map(({ binding, namespace }) => [binding, namespace])),
      serviceBindings: Object.fromEntries(services.map(absentService)),
      // Nothing else leaves the machine: no request for a `cf` object, no telemetry.
      cf: false,
      telemetry: { enabled: false },
      outboundService:
        proxy === undefined
          ? () => new MiniflareResponse('The function has no egress.', { status: 403 })
          : { external: { address: proxy, http: { style: HttpOptions_Style.PROXY } } },
      handleRuntimeStdio: (stdout: Readable, stderr: Readable) => {
        this.#pipe(stdout);
        this.#pipe(stderr);
      },
    };
  }

  #pipe(stream: Readable): void {
    let rest = '';
    stream.setEncoding('utf8');
    stream.on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const text = lineText(line, MAIN, this.#map);
        if (text !== undefined) this.#options.onEvent({ type: 'console', text });
      }
    });
  }
}
