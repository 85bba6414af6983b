/**
 * Console of a function: each call becomes one line on stdout, tagged with the request it belongs to.
 *
 * Evaluated before the user's module, so that its top-level code logs the same way. The store holds the
 * request itself and its id is read only when something is logged: a request that logs nothing pays for
 * `run()` alone.
 */
import { AsyncLocalStorage } from 'node:async_hooks';

export interface RequestScope {
  readonly headers: { get(name: string): string | null };
}

export const scopes = new AsyncLocalStorage<RequestScope>();

/** Longest message, in UTF-16 units; the agent's own bound is close to it. */
const MESSAGE_LENGTH_MAX = 12_000;
const DEPTH_MAX = 4;
const ITEMS_MAX = 100;

type Level = 'debug' | 'log' | 'info' | 'warn' | 'error';

// oxlint-disable-next-line no-console -- stdout of a function is where its console goes
const writeLine = console.log.bind(console);

/** As nodes/logs/parse.ts reads it. Every byte is written, read and parsed once per log line. */
const LETTERS: Readonly<Record<Level, string>> = { debug: 'd', log: 'l', info: 'i', warn: 'w', error: 'e' };
// oxlint-disable-next-line no-control-regex -- workerd ends a line at a NUL
const NEEDS_ESCAPE = /[\\\n\0]/;
// oxlint-disable-next-line no-control-regex -- as above
const ESCAPES = /[\\\n\0]/g;
const ESCAPED: Readonly<Record<string, string>> = { '\n': '\\n', '\0': '\\0', '\\': '\\\\' };

function escape(text: string): string {
  return NEEDS_ESCAPE.test(text) ? text.replaceAll(ESCAPES, (found) => ESCAPED[found] ?? '') : text;
}

function emit(level: Level, message: string): void {
  writeLine(`~c${LETTERS[level]}${requestId()} ${escape(message)}`);
}

/** Empty outside a request. It must hold no space, or the line would be read as another request's. */
function requestId(): string {
  const id = scopes.getStore()?.headers.get('isoplane-request-id');
  return typeof id === 'string' && !id.includes(' ') && !id.includes('\n') ? id : '';
}

function inspectObject(value: object, depth: number, seen: readonly object[]): string {
  if (value instanceof Error) return value.stack ?? `${value.name}: ${value.message}`;
  if (seen.includes(value)) return '[Circular]';
  const inner = [...seen, value];
  const show = (item: unknown): string => inspect(item, depth + 1, inner);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString();
  if (value instanceof RegExp) return String(value);
  const deep = depth >= DEPTH_MAX;
  if (Array.isArray(value)) {
    if (deep) return '[Array]';
    const more = value.length > ITEMS_MAX ? [`… ${value.length - ITEMS_MAX} more items`] : [];
    return value.length === 0 ? '[]' : `[ ${[...value.slice(0, ITEMS_MAX).map(show), ...more].join(', ')} ]`;
  }
  const name = (Object.getPrototypeOf(value) as { constructor?: { name?: string } } | null)?.constructor
    ?.name;
  const title = name === undefined || name === 'Object' ? '' : `${name} `;
  if (deep) return `[${name ?? 'Object'}]`;
  if (value instanceof Map)
    return `Map(${value.size}) { ${[...value]
      .slice(0, ITEMS_MAX)
      .map(([key, item]) => `${show(key)} => ${show(item)}`)
      .join(', ')} }`;
  if (value instanceof Set)
    return `Set(${value.size}) { ${[...value].slice(0, ITEMS_MAX).map(show).join(', ')} }`;
  if (ArrayBuffer.isView(value)) return `${title}(${value.byteLength} bytes)`;
  const keys = Object.keys(value);
  const shown = keys
    .slice(0, ITEMS_MAX)
    .map((key) => `${key}: ${show((value as Record<string, unknown>)[key])}`);
  if (keys.length > ITEMS_MAX) shown.push(`… ${keys.length - ITEMS_MAX} more`);
  return shown.length === 0 ? `${title}{}` : `${title}{ ${shown.join(', ')} }`;
}

function inspect(value: unknown, depth = 0, seen: readonly object[] = []): string {
  switch (typeof value) {
    case 'string':
      return depth === 0 ? value : JSON.stringify(value);
    case 'function':
      return `[Function ${value.name || '(anonymous)'}]`;
    case 'object':
      return value === null ? 'null' : inspectObject(value, depth, seen);
    case 'bigint':
      return `${value}n`;
    default:
      return String(value);
  }
}

/** Never throws: getters and proxies of the user may. */
function inspectSafely(value: unknown): string {
  try {
    return inspect(value);
  } catch {
    return '[not printable]';
  }
}

/** `%s`, `%d`, `%i`, `%f`, `%j`, `%o`, `%O` and `%%` of the first argument, then the rest with spaces between. */
function format(values: readonly unknown[]): string {
  const [first, ...rest] = values;
  if (rest.length === 0 && typeof first === 'string') return shorten(first);
  let text = inspectSafely(first);
  if (typeof first === 'string' && rest.length > 0 && first.includes('%')) {
    text = first.replaceAll(/%[sdifjoOc%]/g, (directive) => {
      if (directive === '%%') return '%';
      if (rest.length === 0) return directive;
      const value = rest.shift();
      if (directive === '%c') return '';
      if (directive === '%d' || directive === '%f') return String(Number(value));
      if (directive === '%i') return String(Math.trunc(Number(value)));
      return inspectSafely(value);
    });
  }
  for (const value of rest) text += ` ${inspectSafely(value)}`;
  return shorten(text);
}

function shorten(text: string): string {
  return text.length > MESSAGE_LENGTH_MAX ? `${text.slice(0, MESSAGE_LENGTH_MAX)}…` : text;
}

const METHODS: Record<string, Level> = {
  debug: 'debug',
  log: 'log',
  info: 'info',
  warn: 'warn',
  error: 'error',
  trace: 'debug',
  dir: 'log',
  dirxml: 'log',
  table: 'log',
  group: 'log',
  groupCollapsed: 'log',
};

const counts = new Map<string, number>();
const COUNTS_MAX = 1_000;
const started = new Map<string, number>();

function install(): void {
  const target = console as unknown as Record<string, (...values: unknown[]) => void>;
  for (const [method, level] of Object.entries(METHODS))
    target[method] = (...values) => emit(level, format(values));
  target['groupEnd'] = () => undefined;
  target['assert'] = (condition, ...values) => {
    if (!condition) emit('error', `Assertion failed${values.length > 0 ? `: ${format(values)}` : ''}`);
  };
  target['count'] = (label = 'default') => {
    const key = String(label);
    const count = (counts.get(key) ?? 0) + 1;
    if (counts.size < COUNTS_MAX || counts.has(key)) counts.set(key, count);
    emit('log', `${key}: ${count}`);
  };
  target['countReset'] = (label = 'default') => void counts.delete(String(label));
  target['time'] = (label = 'default') => {
    if (started.size < COUNTS_MAX) started.set(String(label), Date.now());
  };
  const elapsed = (label: unknown): string =>
    `${String(label)}: ${Date.now() - (started.get(String(label)) ?? Date.now())}ms`;
  target['timeLog'] = (label = 'default', ...values) => emit('log', format([elapsed(label), ...values]));
  target['timeEnd'] = (label = 'default') => {
    emit('log', elapsed(label));
    started.delete(String(label));
  };
}

install();

export function logException(thrown: unknown): void {
  const isError = thrown instanceof Error;
  let message = 'a value that cannot be printed was thrown';
  let stack: string | undefined;
  try {
    message = isError ? `${thrown.name}: ${thrown.message}` : `Uncaught ${inspectSafely(thrown)}`;
    stack = isError ? withCauses(thrown) : undefined;
  } catch {
    // Getters of a hostile error: the message above stands.
  }
  const text = escape(message.slice(0, MESSAGE_LENGTH_MAX));
  const rest = stack === undefined ? '' : `\\|${escape(stack.slice(0, MESSAGE_LENGTH_MAX))}`;
  writeLine(`~xe${requestId()} ${text}${rest}`);
}

function withCauses(error: Error): string | undefined {
  let stack = error.stack;
  let cause: unknown = error.cause;
  for (let depth = 0; depth < DEPTH_MAX && cause instanceof Error && stack !== undefined; depth += 1) {
    stack += `\nCaused by: ${cause.stack ?? String(cause)}`;
    cause = cause.cause;
  }
  return stack;
}
