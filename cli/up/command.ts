/** `isoplane up`: runs the platform in the foreground until Ctrl-C. */
import { resolve } from 'node:path';
import process from 'node:process';
import colors from 'picocolors';
import { z } from 'zod';
import type { NodeStatus } from '#shared/contracts/nodes.ts';
import type { Context } from '../context.ts';
import { ERRORS, PlatformError } from '#shared/errors.ts';
import { CliError, describePlatformError, EXIT } from '../failure.ts';
import { SAME_SIGNAL_MS } from '../interrupt.ts';
import { whenParentIsGone } from '../parent.ts';
import { millisecondsText, plain } from '../output.ts';
import type { PlaneEvent } from './plane-process.ts';
import { checkSettings } from './settings.ts';
import type { PlatformOptions } from './options.ts';
import { startPlatform, type Platform } from './platform.ts';

const optionsSchema = z.object({
  host: z.string(),
  port: z.number(),
  controlHost: z.string(),
  controlPort: z.number(),
  database: z.string().optional(),
  blobs: z.string().optional(),
  baseDomain: z.string(),
  gateways: z.number(),
  slots: z.number().optional(),
  sandbox: z.enum(['auto', 'required', 'off']),
});

/** A start that was told to end and does not is left to the planes, which stop when the supervisor is gone. */
const ABORT_MS_MAX = 12_000;

export async function up(
  context: Context,
  _args: readonly string[],
  given: Record<string, unknown>,
): Promise<number> {
  const options = optionsSchema.parse(given);
  checkSettings(
    { ...process.env, ISOPLANE_DATABASE_URL: options.database, ISOPLANE_BLOBS_URL: options.blobs },
    'up',
  );
  const { output } = context;
  // A log file on a full disk, or a reader that went away, ends no platform.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  const stop = stopRequests();
  const startedMs = performance.now();
  const dataDir = resolve(context.options.data ?? process.env['ISOPLANE_DATA_DIR'] ?? '.isoplane');
  const abort = new AbortController();
  let isUp = false;
  let isStopping = false;
  const endStart = (): void => {
    abort.abort();
    setTimeout(() => (isUp ? undefined : process.exit(EXIT.interrupted)), ABORT_MS_MAX).unref();
  };
  void stop.requested.then(endStart);
  const platform = await output.step(
    'starting the platform',
    () =>
      start({
        dataDir,
        gatewayHost: options.host,
        gatewayPort: options.port,
        controlHost: options.controlHost,
        controlPort: options.controlPort,
        baseDomain: options.baseDomain,
        ...(options.database === undefined ? {} : { database: options.database }),
        ...(options.blobs === undefined ? {} : { blobs: options.blobs }),
        gateways: options.gateways,
        sandbox: options.sandbox,
        ...(options.slots === undefined ? {} : { slots: options.slots }),
        settings: process.env,
        signal: abort.signal,
        // What a plane misses of one that has stopped before it is in its log alone.
        onEvent: (event) => (isStopping && event.type === 'line' ? undefined : report(event, output.json)),
      }),
    () => `the platform is up after ${millisecondsText(performance.now() - startedMs)}`,
  );
  isUp = true;
  void stop.requested.then(() => (isStopping = true));
  const node = await platform.nodeStatus().catch(() => undefined);
  output.result(
    {
      gatewayUrl: platform.gatewayUrl,
      controlUrl: platform.controlUrl,
      dataDir,
      sandbox: node?.sandbox,
      pids: platform.pids(),
    },
    () => banner(platform, node, options.baseDomain),
  );
  await stop.requested;
  output.note('stopping…');
  await platform.close();
  return EXIT.done;
}

async function start(options: PlatformOptions): Promise<Platform> {
  try {
    return await startPlatform(options);
  } catch (thrown) {
    throw forOperator(thrown);
  }
}

/**
 * The operator is the one who reads: the detail that callers of the platform never see belongs here.
 *
 * @param advices - by code, of a command that has other options than `up`.
 */
export function forOperator(
  thrown: unknown,
  advices: Readonly<Partial<Record<string, string>>> = {},
): unknown {
  if (!(thrown instanceof PlatformError)) return thrown;
  const advice = advices[thrown.code] ?? describePlatformError(thrown).advice;
  return new CliError(thrown.code, `${ERRORS[thrown.code].message} ${capitalised(thrown.message)}.`, {
    cause: thrown,
    ...(advice === undefined ? {} : { advice }),
  });
}

function capitalised(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1).replace(/\.$/, '');
}

export function stopRequests(): { readonly requested: Promise<'signal'> } {
  const requested = Promise.withResolvers<'signal'>();
  let firstMs: number | undefined;
  const onSignal = (): void => {
    const nowMs = performance.now();
    if (firstMs === undefined) {
      firstMs = nowMs;
      requested.resolve('signal');
    } else if (nowMs - firstMs > SAME_SIGNAL_MS) {
      // A second Ctrl-C: the planes notice that the supervisor is gone and stop by themselves.
      process.exit(EXIT.interrupted);
    }
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
  // After a signal it is no second one.
  whenParentIsGone(() => (firstMs === undefined ? onSignal() : undefined));
  return { requested: requested.promise };
}

function banner(platform: Platform, node: NodeStatus | undefined, baseDomain: string): string {
  const { port } = new URL(platform.gatewayUrl);
  return [
    '',
    `  functions    ${colors.cyan(`http://NAME.${baseDomain}:${port}/`)}   gateway ${platform.gatewayUrl}`,
    `  control API  ${colors.cyan(platform.controlUrl)}   described at ${platform.controlUrl}/openapi.json`,
    `  data         ${platform.dataDir}`,
    `  sandbox      ${sandboxText(node)}`,
    '',
    '  In a second terminal:',
    '',
    '    npx isoplane init hello && cd hello && npx isoplane deploy && npx isoplane invoke hello',
    '',
    colors.dim('  Ctrl-C stops it.'),
  ].join('\n');
}

function sandboxText(node: NodeStatus | undefined): string {
  if (node === undefined) return colors.yellow('unknown');
  if (node.sandbox.level === 'full') return colors.green('full');
  const missing = node.sandbox.missing.join(', ');
  return `${colors.yellow(`${node.sandbox.level.toUpperCase()}: functions are not fully contained`)} (${plain(missing)}); run \`isoplane doctor\``;
}

/** Warnings, errors and what is not a log line reach the terminal; the rest is in the log files. */
function report(event: PlaneEvent, json: boolean): void {
  const write = (text: string): void => void process.stderr.write(`${text}\n`);
  switch (event.type) {
    case 'line': {
      const line = importantLine(event.line);
      if (line !== undefined) write(json ? line : `${colors.dim(event.plane)} ${plain(line)}`);
      return;
    }
    case 'ended':
      write(colors.yellow(`${event.plane} ended (${event.how}); restarting in ${event.restartInMs} ms`));
      return;
    case 'ready':
      if (event.restarted) write(`${event.plane} serves again (pid ${event.pid})`);
      return;
    case 'hung':
      write(colors.yellow(`${event.plane} hangs (${event.how}); it is replaced`));
      return;
    case 'storage_full':
      write(
        colors.red(
          'storage_full: the disk of the data folder is full. What is there is served; changes are refused.',
        ),
      );
      return;
  }
}

const logLineSchema = z.looseObject({ level: z.string(), event: z.string() });

function importantLine(line: string): string | undefined {
  if (!line.startsWith('{')) return line;
  try {
    const { level, event, at: _at, plane: _plane, ...fields } = logLineSchema.parse(JSON.parse(line));
    // A plane that cannot start says so to the supervisor as well, which reports it once.
    if ((level !== 'warn' && level !== 'error') || event === 'start_failed') return undefined;
    const detail = Object.keys(fields).length === 0 ? '' : ` ${JSON.stringify(fields)}`;
    return `${level} ${event}${detail}`;
  } catch {
    return line;
  }
}
