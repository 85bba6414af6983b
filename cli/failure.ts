/** How the command ends. Exit codes are part of its interface: help.ts says what each means. */
import { ERRORS, PlatformError } from '#shared/errors.ts';

export const EXIT = {
  done: 0,
  failed: 1,
  usage: 2,
  unreachable: 3,
  answered: 4,
  notServed: 5,
  interrupted: 130,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

export interface Problem {
  readonly message: string;
  /** `isoplane.jsonc:3:5`, when it is known. */
  readonly at?: string;
  readonly hint?: string;
}

/** A failure of the command itself, with what to do about it. Failures of the platform are PlatformErrors. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly code: string;
  readonly exitCode: ExitCode;
  readonly advice: string | undefined;
  readonly problems: readonly Problem[];

  constructor(
    code: string,
    message: string,
    options: {
      readonly advice?: string;
      readonly exitCode?: ExitCode;
      readonly problems?: readonly Problem[];
      readonly cause?: unknown;
    } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.exitCode = options.exitCode ?? EXIT.failed;
    this.advice = options.advice;
    this.problems = options.problems ?? [];
  }
}

export interface Described {
  readonly code: string;
  readonly message: string;
  readonly detail?: string;
  readonly advice?: string;
  readonly problems?: readonly Problem[];
  readonly stack?: string;
  readonly logs?: readonly string[];
  readonly requestId?: string;
}

/** Control says the same of every key that it does not take. */
const NO_SUCH_KEY =
  'The key is revoked, or of another platform than this one: an owner makes another, `isoplane keys create NAME --role ROLE`, and `isoplane login URL`, ISOPLANE_KEY or ISOPLANE_KEY_FILE takes it.';

/** What the next step is, for codes where the table's own text does not say it. */
const ADVICE: Partial<Record<string, string>> = {
  port_in_use:
    'Stop what uses the port, or choose others: --port for the gateway, --control-port for the control API.',
  data_folder_in_use: 'Stop the other platform, or choose another folder with --data.',
  address_unusable: 'Choose another address or port: --host and --port, --control-host and --control-port.',
  folder_not_private: 'Run `chmod 700` on the folder, or choose another with --data.',
  storage_full: 'Free disk space and repeat the command.',
  database_corrupt: 'Move the data folder away and restore a backup into its place.',
  database_unreachable: 'See that the libSQL server runs and that --database names it.',
  database_refused: 'Set the token that the libSQL server accepts as ISOPLANE_DATABASE_TOKEN.',
  database_foreign: 'Name the database of this platform with --database, or another data folder with --data.',
  function_not_found: '`isoplane functions list` shows what exists.',
  account_not_found: '`isoplane accounts list` shows what exists.',
  namespace_not_found: '`isoplane kv list` shows what exists; `isoplane kv create NAME` makes one.',
  secret_not_found:
    '`isoplane secrets list` shows those of the account, with `--function NAME` those of a function.',
  version_not_found: '`isoplane versions NAME` shows what exists.',
  alias_not_found: '`isoplane aliases list NAME` shows what exists.',
  layer_not_found:
    '`isoplane layers list` shows what exists; publish one with `isoplane layers publish NAME FOLDER`.',
  no_previous_version:
    'Name the version: `isoplane rollback NAME --to N`; `isoplane versions NAME` shows what exists.',
  in_use: 'Point the alias elsewhere, or delete what refers to it.',
  forbidden:
    '`isoplane whoami` shows the key in use, its role and the functions that it is limited to; owners make others: `isoplane keys create NAME --role ROLE`.',
  signature_invalid: NO_SUCH_KEY,
  token_invalid: NO_SUCH_KEY,
  token_expired: 'An owner makes another: `isoplane keys create NAME --algorithm token --role ROLE`.',
  signature_expired:
    'Set the clock of this machine; for a key that has expired, an owner makes another: `isoplane keys create NAME --role ROLE`.',
  signature_not_yet_valid: 'Set the clock of this machine.',
  node_unavailable: 'Wait a moment and repeat; `isoplane status` shows the nodes.',
};

/** Where the table's text speaks to callers of a function, and a command speaks of names. */
const MESSAGES: Partial<Record<string, string>> = { function_not_found: 'There is no such function.' };

/** Codes whose advice is about the function that the command named. */
const OF_THE_FUNCTION = new Set(['alias_not_found', 'no_previous_version', 'version_not_found']);
const subjects = new WeakMap<Error, string>();

/** Whose command failed: its advice names the function then. */
export function aboutFunction<T>(thrown: T, name: string | undefined): T {
  if (thrown instanceof PlatformError && name !== undefined && OF_THE_FUNCTION.has(thrown.code))
    subjects.set(thrown, name);
  return thrown;
}

const advices = new WeakMap<Error, string>();

/** What to do, where who failed knows better than the table. */
export function withAdvice<T extends Error>(error: T, advice: string): T {
  advices.set(error, advice);
  return error;
}

export function describePlatformError(error: PlatformError): Described {
  const { problems, stack, logs, requestId } = error.extensions;
  const advice = advices.get(error) ?? ADVICE[error.code]?.replaceAll('NAME', subjects.get(error) ?? 'NAME');
  return {
    code: error.code,
    message: MESSAGES[error.code] ?? ERRORS[error.code].message,
    ...(error.publicDetail === undefined ? {} : { detail: error.publicDetail }),
    ...(advice === undefined ? {} : { advice }),
    ...(Array.isArray(problems) ? { problems: problems.map(asProblem) } : {}),
    ...(typeof stack === 'string' ? { stack } : {}),
    ...(Array.isArray(logs) ? { logs: logs.map(String) } : {}),
    ...(typeof requestId === 'string' ? { requestId } : {}),
  };
}

function asProblem(value: unknown): Problem {
  if (typeof value === 'object' && value !== null && 'message' in value) {
    const path =
      'path' in value ? (Array.isArray(value.path) ? value.path.join('.') : String(value.path)) : undefined;
    return { message: String(value.message), ...(path === undefined || path === '' ? {} : { at: path }) };
  }
  return { message: typeof value === 'string' ? value : JSON.stringify(value) };
}
