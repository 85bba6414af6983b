/** Everything that a session says, on a terminal or as one JSON value a line. */
import { relative } from 'node:path';
import process from 'node:process';
import colors from 'picocolors';
import type { Cors } from '#shared/contracts/cors.ts';
import type { LogEntry, NodeStatus } from '#shared/contracts/nodes.ts';
import { functionUrl } from '../client/connection.ts';
import type { Context } from '../context.ts';
import { millisecondsText, plain } from '../output.ts';
import type { PlaneEvent } from '../up/plane-process.ts';
import type { DevFunction, FunctionEvent } from './function.ts';
import type { DevPlatform } from './platform.ts';
import type { AuthMode, Exchange } from './planes/settings.ts';
import { corsText, exchangeText, functionOf, logText } from './screen.ts';

/** Clients of a session before may ask all the time while this one starts. */
const EARLY_MAX = 100;

const KEYS = [
  ['o', 'open in a browser'],
  ['r', 'restart: new instances, everything built again'],
  ['a', 'check callers as deployed, or let everybody in'],
  ['c', 'clear'],
  ['q', 'quit'],
] as const;

export interface Ready {
  readonly dev: DevPlatform;
  /** Answers at the bare host. */
  readonly main: string | undefined;
  readonly functions: readonly DevFunction[];
  readonly auth: AuthMode;
  readonly sandbox: NodeStatus['sandbox'] | undefined;
  /** Address of the debugger. */
  readonly inspector: string | undefined;
  readonly tookMs: number;
}

export class Report {
  readonly #context: Context;
  readonly #terms: { readonly several: boolean; readonly inspect: boolean };
  readonly #warned = new Map<string, string>();
  /** Function → those that it is bound to. */
  readonly #bound = new Map<string, readonly string[]>();
  readonly #cors = new Map<string, Cors>();
  #mainUrl: string | undefined;
  #dev: DevPlatform | undefined;
  #isReady = false;
  /** What was asked and logged before the addresses were shown; it is shown after them. */
  #early: (() => void)[] = [];
  #hint: 'none' | 'due' | 'given' = 'none';

  constructor(context: Context, terms: { readonly several: boolean; readonly inspect: boolean }) {
    this.#context = context;
    this.#terms = terms;
  }

  mainUrl(): string | undefined {
    return this.#mainUrl;
  }

  note(text: string): void {
    this.#context.output.note(text);
  }

  failed(error: unknown): void {
    this.#context.output.fail(error);
  }

  functionEvent(event: FunctionEvent): void {
    const { output } = this.#context;
    switch (event.type) {
      case 'served': {
        const { name, warnings, config } = event.project;
        this.#warnOnce(name, [...warnings, ...event.bundle.warnings]);
        this.#bound.set(
          name,
          config.services.map((service) => service.function),
        );
        if (config.cors === undefined) this.#cors.delete(name);
        else this.#cors.set(name, config.cors);
        if (!this.#isReady) return;
        this.#warnOfAbsent();
        const url =
          event.first && this.#dev !== undefined ? functionUrl(this.#dev.connection, name).href : undefined;
        output.result({ type: 'served', function: name, url, tookMs: Math.round(event.tookMs) }, () =>
          colors.dim(
            `${url === undefined ? `reloaded ${name}` : `serving ${name} at ${url}`} after ${millisecondsText(event.tookMs)}`,
          ),
        );
        return;
      }
      case 'published':
        return;
      case 'failed':
        if (this.#terms.several) output.note(colors.magenta(event.label));
        output.fail(event.error);
        output.note(
          colors.dim(
            event.serves
              ? `the version before keeps serving; waiting for a change of ${event.label}`
              : `nothing is served; waiting for a change of ${event.label}`,
          ),
        );
        return;
      case 'renamed':
        this.#bound.delete(event.from);
        this.#cors.delete(event.from);
        output.note(colors.dim(`${event.from} is gone: its project was renamed or removed`));
        return;
    }
  }

  log(name: string, entry: LogEntry): void {
    this.#whenReady(() =>
      this.#context.output.result({ type: 'log', function: name, ...entry }, () =>
        logText(name, entry, this.#terms.several),
      ),
    );
  }

  exchange(exchange: Exchange): void {
    const { event: _, preflight, ...fields } = exchange;
    this.#whenReady(() => {
      this.#context.output.result({ type: 'request', ...fields }, () =>
        exchangeText(exchange, this.#terms.several),
      );
      const name = preflight === undefined ? undefined : functionOf(preflight.host);
      const refusal =
        preflight === undefined || name === undefined
          ? undefined
          : corsText(this.#cors.get(name), preflight.origin);
      if (refusal !== undefined) this.#context.output.warn(refusal);
      if (this.#hint !== 'due') return;
      this.#hint = 'given';
      this.note(
        colors.dim(
          'callers are checked as after deployment; press a or start with --auth off to let them in',
        ),
      );
    });
  }

  /** By the platform: a function may answer 401 itself, and then letting everybody in changes nothing. */
  refused(): void {
    if (this.#hint === 'none') this.#hint = 'due';
  }

  #whenReady(show: () => void): void {
    if (this.#isReady) return show();
    this.#early.push(show);
    if (this.#early.length > EARLY_MAX) this.#early.shift();
  }

  planeEvent(event: PlaneEvent): void {
    switch (event.type) {
      case 'line': {
        const text = planeText(event.line, this.#context.options.verbose === true);
        if (text !== undefined) this.note(`${colors.dim(event.plane)} ${plain(text)}`);
        return;
      }
      case 'ended':
        return this.note(colors.yellow(`${event.plane} ended (${event.how}); it starts again`));
      case 'hung':
        return this.note(colors.yellow(`${event.plane} hangs (${event.how}); it is replaced`));
      case 'storage_full':
        return this.note(colors.red(`${event.plane}: the disk is full`));
      case 'ready':
        return;
    }
  }

  ready(ready: Ready): void {
    const { dev, main, functions, auth, sandbox, inspector, tookMs } = ready;
    this.#isReady = true;
    this.#dev = dev;
    const served = functions.flatMap(({ name }) => (name === undefined ? [] : [name]));
    const urls = served.map((name) => ({ name, url: functionUrl(dev.connection, name).href }));
    this.#warnOfAbsent();
    const { port } = new URL(dev.platform.gatewayUrl);
    this.#mainUrl = main === undefined ? urls[0]?.url : `http://localhost:${port}/`;
    this.#context.output.result(
      {
        type: 'ready',
        url: this.#mainUrl,
        gatewayUrl: dev.platform.gatewayUrl,
        functions: urls,
        auth,
        sandbox,
        inspector,
        dataDir: dev.platform.dataDir,
      },
      () =>
        [
          '',
          ...(main === undefined ? [] : [`  ${main.padEnd(12)} ${colors.cyan(this.#mainUrl ?? '')}`]),
          ...urls.map(({ name, url }) => `  ${(main === name ? '' : name).padEnd(12)} ${colors.cyan(url)}`),
          `  callers      ${AUTH_TEXT[auth]}`,
          `  sandbox      ${sandboxText(sandbox, this.#terms.inspect)}`,
          ...(inspector === undefined
            ? []
            : [`  debugger     ${colors.cyan(inspector)}   CPU and time limits are off`]),
          `  state        ${relative(process.cwd(), dev.platform.dataDir)}   started in ${millisecondsText(tookMs)}`,
          '',
          ...(this.#context.output.interactive ? [`  ${keysText()}`, ''] : []),
        ].join('\n'),
    );
    for (const show of this.#early.splice(0)) show();
  }

  /** As after deployment, a call to a function that is not there is answered so; said before it is made. */
  #warnOfAbsent(): void {
    for (const [name, targets] of this.#bound)
      this.#warnOnce(
        `${name} bindings`,
        targets
          .filter((target) => !this.#bound.has(target))
          .map(
            (target) =>
              `${name} is bound to ${target}, which this session does not run: \`isoplane dev\` takes several projects`,
          ),
      );
  }

  auth(mode: AuthMode): void {
    this.note(`callers: ${AUTH_TEXT[mode]}`);
  }

  restarted(tookMs: number): void {
    this.note(colors.dim(`restarted in ${millisecondsText(tookMs)}`));
  }

  help(): void {
    this.note(KEYS.map(([key, does]) => `  ${colors.bold(key)}  ${does}`).join('\n'));
  }

  #warnOnce(name: string, warnings: readonly string[]): void {
    const text = warnings.join('\n');
    if (this.#warned.get(name) === text) return;
    this.#warned.set(name, text);
    for (const warning of warnings) this.#context.output.warn(warning);
  }
}

const AUTH_TEXT: Record<AuthMode, string> = {
  'as-deployed': 'checked as after deployment',
  off: colors.yellow('everybody is let in'),
};

function keysText(): string {
  return [
    ...KEYS.map(([key, does]) => `${colors.bold(key)} ${does.split(/[ :,]/)[0]}`),
    `${colors.bold('?')} help`,
  ].join('   ');
}

function sandboxText(sandbox: NodeStatus['sandbox'] | undefined, inspect: boolean): string {
  if (sandbox === undefined) return colors.yellow('unknown');
  if (sandbox.level === 'full') return colors.green('full');
  if (inspect) return colors.yellow('off while the debugger is used');
  return `${colors.yellow(sandbox.level)}; fine for your own code (\`isoplane doctor\` says what is missing)`;
}

/** Undefined: of no use to a developer. Planes keep logs of their own. */
function planeText(line: string, verbose: boolean): string | undefined {
  if (!line.startsWith('{')) return line;
  try {
    const { level, event, at: _at, plane: _plane, ...fields } = JSON.parse(line) as Record<string, unknown>;
    if (event === 'start_failed' || event === 'sandbox_incomplete') return undefined;
    if (level !== 'error' && !(verbose && level === 'warn')) return undefined;
    return `${level} ${String(event)} ${JSON.stringify(fields)}`;
  } catch {
    return line;
  }
}
