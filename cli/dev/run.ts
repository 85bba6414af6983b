/** A session from its start to its end: platform, functions, terminal. */
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import process from 'node:process';
import type { Context } from '../context.ts';
import { CliError, EXIT } from '../failure.ts';
import { makeStateFolder } from '../project/state-folder.ts';
import { forOperator, stopRequests } from '../up/command.ts';
import { openBrowser } from './browser.ts';
import { InspectorProxy } from './inspector.ts';
import { listenToKeys, type Keys } from './keys.ts';
import { startDevPlatform, type DevPlatform } from './platform.ts';
import type { AuthMode, GatewaySettings } from './planes/settings.ts';
import { Report } from './report.ts';
import { Session } from './session.ts';
import { findWorkspace, stateFolder, type Workspace } from './workspace.ts';

const ADVICE = {
  port_in_use: 'Stop what uses the port, or choose another with --port.',
  data_folder_in_use:
    'Stop the other `isoplane dev` of this folder; one that was just stopped takes some seconds to end.',
  address_unusable: 'Choose another address or port: --host and --port.',
};

export interface RunOptions {
  readonly projects: readonly string[];
  /** `env.NAME` of wrangler files. */
  readonly environment: string | undefined;
  readonly host: string;
  readonly port: number;
  readonly auth: AuthMode;
  readonly claims: GatewaySettings['claims'];
  /** Undefined: no debugger. 0 lets the system choose. */
  readonly inspectPort: number | undefined;
  /** Layer name → folder of its modules. */
  readonly layers: ReadonlyMap<string, string>;
  readonly sandbox: 'auto' | 'off';
}

/** Whether the state folder is still there is looked up this often. */
const LOOK_MS = 1_000;
/** A session that was told to end and does not is left to the planes, which stop when the supervisor is gone. */
const CLOSE_MS_MAX = 12_000;

export async function runDev(context: Context, options: RunOptions): Promise<number> {
  const stop = stopRequests();
  const abort = new AbortController();
  void stop.requested.then(() => abort.abort());
  const run = new Run(context, options, await findWorkspace(options.projects, process.cwd()));
  try {
    await run.open(abort.signal);
    const reason = await Promise.race([stop.requested, run.ended]);
    if (reason instanceof Error) throw reason;
    context.output.note('stopping…');
    return EXIT.done;
  } finally {
    // Not cleared: nothing that was forgotten may keep a command alive that has said its last word.
    setTimeout(() => process.exit(process.exitCode ?? EXIT.failed), CLOSE_MS_MAX).unref();
    await run.close();
  }
}

class Run {
  readonly #context: Context;
  readonly #options: RunOptions;
  readonly #workspace: Workspace;
  readonly #report: Report;
  readonly #session: Session;
  readonly #opened = Promise.withResolvers<DevPlatform>();
  readonly #end = Promise.withResolvers<'quit' | Error>();
  #auth: AuthMode;
  #dev: DevPlatform | undefined;
  #inspector: InspectorProxy | undefined;
  #keys: Keys | undefined;
  #look: NodeJS.Timeout | undefined;
  /** Events of functions in their order, each after what it says holds. */
  #told: Promise<void> = Promise.resolve();

  constructor(context: Context, options: RunOptions, workspace: Workspace) {
    this.#context = context;
    this.#options = options;
    this.#workspace = workspace;
    this.#auth = options.auth;
    this.#report = new Report(context, {
      several: workspace.targets.length > 1 || workspace.parents.length > 0,
      inspect: options.inspectPort !== undefined,
    });
    const dataDir = stateFolder(workspace);
    this.#session = new Session({
      targets: workspace.targets,
      parents: workspace.parents,
      environment: options.environment,
      api: this.#opened.promise.then(({ api }) => api),
      layers: {
        folders: options.layers,
        cacheDir: `${dataDir}/layers`,
        remote: async () => (await context.platform()).api,
      },
      inspect: options.inspectPort !== undefined,
      onEvent: (event) => {
        if (event.type === 'published') this.#inspector?.published(event);
        // What is said to be served is served at once, also at the bare host.
        const settled = this.#configure();
        this.#told = this.#told.then(() => settled).then(() => this.#report.functionEvent(event));
      },
      onLog: (name, entry) => this.#report.log(name, entry),
    });
  }

  get ended(): Promise<'quit' | Error> {
    return this.#end.promise;
  }

  async open(signal: AbortSignal): Promise<void> {
    const startedMs = performance.now();
    const { inspectPort, host, port, sandbox } = this.#options;
    const dataDir = stateFolder(this.#workspace);
    if (inspectPort !== undefined) this.#inspector = await InspectorProxy.open(inspectPort);
    // Where it cannot be made, the start of the platform says why.
    await makeStateFolder(dirname(dataDir)).catch(() => undefined);
    // The first build runs while the planes start.
    const built = this.#session.open();
    built.catch(() => undefined);
    const dev = await startDevPlatform({
      dataDir,
      host,
      port,
      inspect: inspectPort !== undefined,
      sandbox,
      signal,
      onExchange: (exchange) => this.#report.exchange(exchange),
      onRefused: () => this.#report.refused(),
      onInspectable: (instance) => this.#inspector?.attach(instance),
      onEvent: (event) => this.#report.planeEvent(event),
    }).catch((thrown: unknown) => {
      throw forOperator(thrown, ADVICE);
    });
    this.#dev = dev;
    this.#opened.resolve(dev);
    await Promise.race([built, aborted(signal)]);
    await this.#configure();
    this.#watchState(dataDir);
    this.#report.ready({
      dev,
      main: this.#mainName(),
      functions: this.#session.functions,
      auth: this.#auth,
      sandbox: (await dev.platform.nodeStatus().catch(() => undefined))?.sandbox,
      inspector: this.#inspector?.url,
      tookMs: performance.now() - startedMs,
    });
    this.#openKeys();
  }

  async close(): Promise<void> {
    clearInterval(this.#look);
    this.#keys?.close();
    await Promise.all([this.#session.close(), this.#inspector?.close()]);
    await this.#dev?.platform.close();
  }

  #mainName(): string | undefined {
    const { main } = this.#workspace;
    return this.#session.functions.find(({ target }) => target === main)?.name;
  }

  async #configure(): Promise<void> {
    const { main: target } = this.#workspace;
    // Also before it is served: the first request after that finds it.
    const main = this.#session.functions.find((each) => each.target === target)?.expectedName;
    await this.#dev?.configure({
      type: 'dev-settings',
      auth: this.#auth,
      claims: this.#options.claims,
      ...(main === undefined ? {} : { main }),
    });
  }

  /** Without its database and sockets the platform would fail at one thing after the other. */
  #watchState(dataDir: string): void {
    this.#look = setInterval(() => {
      stat(dataDir).catch(() => {
        this.#end.resolve(
          new CliError('folder_unreadable', `The folder ${dataDir} is gone.`, {
            advice: 'Start dev again; it makes a new one.',
          }),
        );
      });
    }, LOOK_MS);
  }

  #openKeys(): void {
    if (!this.#context.output.interactive) return;
    this.#keys = listenToKeys(process.stdin, (key) => this.#onKey(key));
  }

  #onKey(key: string): void {
    switch (key) {
      case 'q':
        return this.#end.resolve('quit');
      case 'o':
        return void this.#open();
      case 'r':
        return void this.#restart();
      case 'a':
        this.#auth = this.#auth === 'off' ? 'as-deployed' : 'off';
        void this.#configure().then(() => this.#report.auth(this.#auth));
        return;
      case 'c':
        return void process.stdout.write('\u001b[2J\u001b[3J\u001b[H');
      case '?':
      case 'h':
        return this.#report.help();
      default:
    }
  }

  async #open(): Promise<void> {
    const url = this.#report.mainUrl();
    if (url !== undefined && !(await openBrowser(url))) this.#report.note(`open ${url} in a browser`);
  }

  /** A new node has new instances, and everything is built again. */
  async #restart(): Promise<void> {
    this.#report.note('restarting…');
    const startedMs = performance.now();
    try {
      await this.#dev?.platform.replace('node');
      await this.#session.saveAll();
      this.#report.restarted(performance.now() - startedMs);
    } catch (thrown) {
      this.#report.failed(thrown);
    }
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const fail = (): void => reject(signal.reason as Error);
    if (signal.aborted) fail();
    else signal.addEventListener('abort', fail, { once: true });
  });
}
