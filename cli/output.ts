/**
 * What the command writes: results on stdout, everything else on stderr, so that a pipe carries data only.
 * With `--json` stdout is one JSON value (or one a line for streams) and failures are JSON there too.
 */
import process from 'node:process';
import colors from 'picocolors';
import { PlatformError } from '#shared/errors.ts';
import { dependencyProblem } from './dependencies.ts';
import { spin } from './spinner.ts';
import { CliError, describePlatformError, EXIT, type Described, type ExitCode } from './failure.ts';

export interface Output {
  readonly json: boolean;
  /** Prompts and moving progress are allowed: both ends are a terminal and nothing was asked to be plain. */
  readonly interactive: boolean;
  /** The result of the command: `value` as JSON, or `text` for people. */
  result(value: unknown, text: () => string): void;
  /** One line for people on stderr; silent with `--json`. */
  note(text: string): void;
  warn(text: string): void;
  /** Runs `work` with a spinner on a terminal, where it may tell how far it is; elsewhere it is silent. */
  step<T>(
    label: string,
    work: (tell: (progress: string) => void) => Promise<T>,
    done: (value: T) => string,
  ): Promise<T>;
  fail(thrown: unknown): ExitCode;
}

export function createOutput(options: { readonly json: boolean; readonly verbose: boolean }): Output {
  const interactive =
    !options.json && process.stdin.isTTY && process.stderr.isTTY && process.env['CI'] === undefined;
  const errorLine = (text: string): void => void process.stderr.write(`${text}\n`);
  const note = (text: string): void => {
    if (!options.json) errorLine(text);
  };
  return {
    json: options.json,
    interactive,
    result(value, text) {
      const body = options.json ? JSON.stringify(value) : text();
      if (body !== '') process.stdout.write(`${body}\n`);
    },
    note,
    warn: (text) => errorLine(`${colors.yellow('warning')} ${text}`),
    async step(label, work, done) {
      if (!interactive) {
        const value = await work(() => undefined);
        note(done(value));
        return value;
      }
      // The work first: who sees the label and interrupts it, interrupts what takes note of that.
      let tell: (progress: string) => void = () => undefined;
      const working = work((text) => tell(text));
      const progress = spin(label, process.stderr);
      tell = (text) => progress.at(text);
      try {
        const value = await working;
        progress.done(done(value));
        return value;
      } catch (thrown) {
        progress.failed();
        throw thrown;
      }
    },
    fail(thrown) {
      const { described, exitCode } = describe(thrown, options.verbose);
      if (options.json) process.stdout.write(`${JSON.stringify({ error: described })}\n`);
      else errorLine(renderFailure(described));
      return exitCode;
    },
  };
}

/** `internal` says nothing to whoever reads it. */
function explains(thrown: unknown): boolean {
  return (thrown instanceof CliError || thrown instanceof PlatformError) && thrown.code !== 'internal';
}

function describe(thrown: unknown, verbose: boolean): { described: Described; exitCode: ExitCode } {
  const trace = verbose && thrown instanceof Error ? causes(thrown) : undefined;
  const file = fileFailure(thrown);
  if (file !== undefined)
    return {
      exitCode: EXIT.failed,
      described: { ...file, ...(trace === undefined ? {} : { logs: trace }) },
    };
  const missing = explains(thrown) ? undefined : dependencyProblem();
  if (missing !== undefined)
    return {
      exitCode: EXIT.failed,
      described: {
        code: 'dependencies_missing',
        ...missing,
        // It need not be the cause.
        detail: thrown instanceof Error ? (thrown.message.split('\n')[0] ?? '') : String(thrown),
        ...(trace === undefined ? {} : { logs: trace }),
      },
    };
  if (thrown instanceof CliError) {
    return {
      exitCode: thrown.exitCode,
      described: {
        code: thrown.code,
        message: thrown.message,
        ...(thrown.advice === undefined ? {} : { advice: thrown.advice }),
        ...(thrown.problems.length === 0 ? {} : { problems: thrown.problems }),
        ...(trace === undefined ? {} : { logs: trace }),
      },
    };
  }
  if (thrown instanceof PlatformError) {
    const described = describePlatformError(thrown);
    return {
      exitCode: EXIT.failed,
      described: trace === undefined ? described : { ...described, logs: trace },
    };
  }
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return {
    exitCode: EXIT.failed,
    described: {
      code: 'internal',
      message: `The command failed: ${message}`,
      advice: 'Repeat it with --verbose to see where.',
      ...(trace === undefined ? {} : { logs: trace }),
    },
  };
}

const FILE_REASONS: Readonly<Record<string, string>> = {
  EACCES: 'this user may not use it',
  EEXIST: 'something is there already',
  EISDIR: 'it is a folder',
  EMFILE: 'too many files are open',
  ENAMETOOLONG: 'the name is too long',
  ENOENT: 'there is no such file or folder',
  ENOSPC: 'the disk is full',
  ENOTDIR: 'a part of the path is no folder',
  EPERM: 'this user may not use it',
  EROFS: 'the disk is read-only',
};

/** A file that a command was to read or write: what the system says of it, without its jargon. */
function fileFailure(thrown: unknown): Pick<Described, 'code' | 'message' | 'advice'> | undefined {
  if (!(thrown instanceof Error) || !('path' in thrown) || typeof thrown.path !== 'string') return undefined;
  const reason = 'code' in thrown ? FILE_REASONS[String(thrown.code)] : undefined;
  if (reason === undefined) return undefined;
  return {
    code: 'file_unusable',
    message: `${thrown.path} cannot be used: ${reason}.`,
    advice: 'Check the path and who may use it; --verbose shows where it was wanted.',
  };
}

function causes(error: Error): string[] {
  const lines = (error.stack ?? error.message).split('\n');
  return error.cause instanceof Error ? [...lines, 'caused by:', ...causes(error.cause)] : lines;
}

/** Control characters but tab and line feed; what turns the direction of text, or breaks a line elsewhere. */
const UNSEEN =
  // oxlint-disable-next-line no-control-regex -- control characters are exactly what is removed
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/**
 * Text from the platform may carry what a function printed: it must not be able to drive the terminal, nor to show
 * another text than it is.
 */
export function plain(text: string): string {
  return text.replaceAll(UNSEEN, '\u{fffd}');
}

function renderFailure(failure: Described): string {
  const lines = [`${colors.red('error')} ${plain(failure.message)} ${colors.dim(`[${failure.code}]`)}`];
  // A stack starts with its message: once is enough.
  if (failure.detail !== undefined && failure.stack?.includes(failure.detail) !== true)
    lines.push(`  ${plain(failure.detail)}`);
  for (const problem of failure.problems ?? []) {
    // The detail of one problem says the same.
    if (`${problem.at ?? ''}: ${problem.message}` === failure.detail) continue;
    const at = problem.at === undefined ? '' : `${colors.cyan(plain(problem.at))} `;
    lines.push(`  ${at}${plain(problem.message)}`);
    if (problem.hint !== undefined) lines.push(`    ${colors.dim(problem.hint)}`);
  }
  if (failure.stack !== undefined) lines.push(indent(failure.stack));
  if (failure.logs !== undefined && failure.logs.length > 0) lines.push(indent(failure.logs.join('\n')));
  if (failure.requestId !== undefined) lines.push(`  request ${plain(failure.requestId)}`);
  if (failure.advice !== undefined) lines.push(`  ${colors.bold('→')} ${failure.advice}`);
  return lines.join('\n');
}

function indent(text: string): string {
  return plain(text)
    .split('\n')
    .map((line) => `  ${line}`)
    .join('\n');
}

export function bytesText(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  const kib = bytes / 1024;
  if (kib < 1024) return `${kib.toFixed(1)} KiB`;
  const mib = kib / 1024;
  return mib < 1024 ? `${mib.toFixed(1)} MiB` : `${(mib / 1024).toFixed(1)} GiB`;
}

export function millisecondsText(milliseconds: number): string {
  return milliseconds < 1_000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1_000).toFixed(1)} s`;
}

const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** `5 min ago`, `in 3 h`; a day (UTC) once a week lies between. `--json` has the instant. */
export function whenText(instant: string, nowMs: number = Date.now()): string {
  const deltaMs = nowMs - Date.parse(instant);
  const size = Math.abs(deltaMs);
  if (Number.isNaN(size) || size >= 7 * DAY_MS) return instant.slice(0, 10);
  if (size < 2 * SECOND_MS) return 'now';
  const amount =
    size < 2 * MINUTE_MS
      ? `${Math.round(size / SECOND_MS)} s`
      : size < 2 * HOUR_MS
        ? `${Math.round(size / MINUTE_MS)} min`
        : size < 2 * DAY_MS
          ? `${Math.round(size / HOUR_MS)} h`
          : `${Math.round(size / DAY_MS)} d`;
  return deltaMs >= 0 ? `${amount} ago` : `in ${amount}`;
}
