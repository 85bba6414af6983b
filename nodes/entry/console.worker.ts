/**
 * Console of a function: each call becomes one line on stdout, tagged with the request it belongs to.
 *
 * Evaluated before the user's module, so that its top-level code logs the same way. That module may poison
 * what it likes afterwards: from then on only language syntax and intact.worker.ts are used, no iterators, no
 * methods of values, and no writes that a setter on a prototype could catch.
 */
import * as intact from './intact.worker.ts';
import { writeLine } from './lines.worker.ts';
import { withRequestId } from './scope.worker.ts';

/** Longest message, in UTF-16 units; the agent's own bound is close to it. */
const MESSAGE_LENGTH_MAX = 12_000;
const DEPTH_MAX = 4;
const ITEMS_MAX = 100;
const NOT_PRINTABLE = '[not printable]';

type Level = 'debug' | 'log' | 'info' | 'warn' | 'error';

/** As nodes/logs/parse.ts reads it. Every byte is written, read and parsed once per log line. */
const LETTERS: Readonly<Record<Level, string>> = { debug: 'd', log: 'l', info: 'i', warn: 'w', error: 'e' };
// oxlint-disable-next-line no-control-regex -- workerd ends a line at a NUL
const ESCAPES = /[\\\n\0]/g;

function escape(text: string): string {
  let escaped = '';
  let from = 0;
  ESCAPES.lastIndex = 0;
  for (let found = intact.match(ESCAPES, text); found !== null; found = intact.match(ESCAPES, text)) {
    const character = found[0] === '\n' ? 'n' : found[0] === '\0' ? '0' : '\\';
    escaped += `${intact.slice(text, from, found.index)}\\${character}`;
    from = found.index + 1;
  }
  return from === 0 ? text : escaped + intact.slice(text, from);
}

function emit(level: Level, message: string): void {
  const text = escape(message);
  withRequestId((id) => writeLine(`c${LETTERS[level]}${id} ${text}`));
}

/** The objects around one that is being shown. A list of its own: arrays have setters to poison. */
interface Around {
  readonly value: object;
  readonly outer: Around | undefined;
}

function isWithin(value: object, around: Around | undefined): boolean {
  for (let each = around; each !== undefined; each = each.outer) if (each.value === value) return true;
  return false;
}

/** Joins what it is given, up to {@link ITEMS_MAX} items. */
class Items {
  count = 0;
  text = '';

  get isFull(): boolean {
    return this.count >= ITEMS_MAX;
  }

  add(text: string): void {
    this.text += this.count === 0 ? text : `, ${text}`;
    this.count += 1;
  }
}

function inspectItems(value: readonly unknown[], depth: number, around: Around): string {
  const { length } = value;
  if (length === 0) return '[]';
  const items = new Items();
  for (let index = 0; index < length && !items.isFull; index += 1)
    items.add(inspect(value[index], depth + 1, around));
  if (length > ITEMS_MAX) items.add(`… ${length - ITEMS_MAX} more items`);
  return `[ ${items.text} ]`;
}

function inspectMap(map: Map<unknown, unknown>, depth: number, around: Around): string {
  const items = new Items();
  intact.eachOfMap(map, (item, key) => {
    if (!items.isFull) items.add(`${inspect(key, depth + 1, around)} => ${inspect(item, depth + 1, around)}`);
  });
  return `Map(${intact.mapSize(map)}) { ${items.text} }`;
}

function inspectSet(set: Set<unknown>, depth: number, around: Around): string {
  const items = new Items();
  intact.eachOfSet(set, (item) => {
    if (!items.isFull) items.add(inspect(item, depth + 1, around));
  });
  return `Set(${intact.setSize(set)}) { ${items.text} }`;
}

function inspectKeys(value: Readonly<Record<string, unknown>>, depth: number, around: Around): string {
  const keys = intact.keysOf(value);
  const items = new Items();
  for (let index = 0; index < keys.length && !items.isFull; index += 1) {
    const key = keys[index] ?? '';
    items.add(`${key}: ${inspect(value[key], depth + 1, around)}`);
  }
  if (keys.length > ITEMS_MAX) items.add(`… ${keys.length - ITEMS_MAX} more`);
  return items.count === 0 ? '{}' : `{ ${items.text} }`;
}

function inspectObject(value: object, depth: number, outer: Around | undefined): string {
  if (intact.isError(value)) return value.stack ?? `${value.name}: ${value.message}`;
  if (isWithin(value, outer)) return '[Circular]';
  const around = { value, outer };
  if (intact.isDate(value))
    return intact.isNaN(intact.timeOf(value)) ? 'Invalid Date' : intact.isoTime(value);
  if (intact.isRegExp(value)) return intact.regExpText(value);
  const isDeep = depth >= DEPTH_MAX;
  if (intact.isArray(value)) return isDeep ? '[Array]' : inspectItems(value, depth, around);
  const name = (intact.getPrototypeOf(value) as { constructor?: { name?: string } } | null)?.constructor
    ?.name;
  const title = name === undefined || name === 'Object' ? '' : `${name} `;
  if (isDeep) return `[${name ?? 'Object'}]`;
  if (intact.isMap(value)) return inspectMap(value, depth, around);
  if (intact.isSet(value)) return inspectSet(value, depth, around);
  if (intact.isView(value)) return `${title}(${value.byteLength} bytes)`;
  return `${title}${inspectKeys(value as Readonly<Record<string, unknown>>, depth, around)}`;
}

function inspect(value: unknown, depth = 0, around?: Around): string {
  switch (typeof value) {
    case 'string':
      return depth === 0 ? value : intact.quoted(value);
    case 'function':
      return `[Function ${value.name || '(anonymous)'}]`;
    case 'object':
      return value === null ? 'null' : inspectObject(value, depth, around);
    case 'bigint':
      return `${value}n`;
    default:
      return intact.toText(value);
  }
}

/** Never throws: getters and proxies of the user may. What they give for a string may be none. */
function safely(show: (value: unknown) => string, value: unknown): string {
  try {
    return intact.toText(show(value));
  } catch {
    return NOT_PRINTABLE;
  }
}

const inspectSafely = (value: unknown): string => safely((given) => inspect(given), value);

const DIRECTIVES = /%[sdifjoOc%]/g;

function directed(directive: string, value: unknown): string {
  switch (directive) {
    case '%c':
      return '';
    case '%d':
    case '%f':
      return safely((given) => intact.toText(intact.toNumber(given)), value);
    case '%i':
      return safely((given) => intact.toText(intact.trunc(intact.toNumber(given))), value);
    default:
      return inspectSafely(value);
  }
}

/** `%s`, `%d`, `%i`, `%f`, `%j`, `%o`, `%O` and `%%` of the first argument, then the rest with spaces between. */
function format(values: readonly unknown[]): string {
  const first = values[0];
  if (values.length === 1 && typeof first === 'string') return shorten(first);
  let text = '';
  let used = 1;
  if (typeof first !== 'string' || values.length === 0) text = inspectSafely(first);
  else {
    let from = 0;
    DIRECTIVES.lastIndex = 0;
    for (let found = intact.match(DIRECTIVES, first); found !== null;) {
      const directive = found[0];
      const { lastIndex } = DIRECTIVES;
      text += intact.slice(first, from, found.index);
      if (directive === '%%') text += '%';
      else if (used >= values.length) text += directive;
      else {
        text += directed(directive, values[used]);
        used += 1;
      }
      from = lastIndex;
      // Showing a value may run the user's getters, and those may log.
      DIRECTIVES.lastIndex = lastIndex;
      found = intact.match(DIRECTIVES, first);
    }
    text += intact.slice(first, from);
  }
  for (; used < values.length; used += 1) text += ` ${inspectSafely(values[used])}`;
  return shorten(text);
}

function shorten(text: string): string {
  return text.length > MESSAGE_LENGTH_MAX ? `${intact.slice(text, 0, MESSAGE_LENGTH_MAX)}…` : text;
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

/** Numbers by label, of a bounded count. Without a prototype, so that a label is never anything else. */
class Labels {
  readonly #values = Object.create(null) as Record<string, number | undefined>;
  #count = 0;

  get(label: string): number | undefined {
    return this.#values[label];
  }

  set(label: string, value: number): void {
    const isNew = this.#values[label] === undefined;
    if (isNew && this.#count >= LABELS_MAX) return;
    if (isNew) this.#count += 1;
    this.#values[label] = value;
  }

  delete(label: string): void {
    if (this.#values[label] === undefined) return;
    this.#count -= 1;
    // oxlint-disable-next-line typescript/no-dynamic-delete -- a Map has methods, and those can be poisoned
    delete this.#values[label];
  }
}

const LABELS_MAX = 1_000;
const counts = new Labels();
const started = new Labels();
const labelOf = (label: unknown): string => safely(intact.toText, label);

function install(): void {
  const target = console as unknown as Record<string, (...values: unknown[]) => void>;
  for (const [method, level] of Object.entries(METHODS))
    target[method] = (...values) => emit(level, format(values));
  target['groupEnd'] = () => undefined;
  target['assert'] = (condition, ...values) => {
    if (!condition) emit('error', `Assertion failed${values.length > 0 ? `: ${format(values)}` : ''}`);
  };
  target['count'] = (given = 'default') => {
    const label = labelOf(given);
    const count = (counts.get(label) ?? 0) + 1;
    counts.set(label, count);
    emit('log', `${label}: ${count}`);
  };
  target['countReset'] = (label = 'default') => counts.delete(labelOf(label));
  target['time'] = (label = 'default') => started.set(labelOf(label), intact.now());
  const elapsed = (label: string): string =>
    `${label}: ${intact.now() - (started.get(label) ?? intact.now())}ms`;
  target['timeLog'] = (label = 'default', ...values) =>
    emit('log', shorten(`${elapsed(labelOf(label))}${values.length > 0 ? ` ${format(values)}` : ''}`));
  target['timeEnd'] = (given = 'default') => {
    const label = labelOf(given);
    emit('log', elapsed(label));
    started.delete(label);
  };
}

install();

interface Description {
  readonly message: string;
  readonly stack: string | undefined;
}

/** What a value that was thrown has to say. Whatever its traps and getters do, there is an answer. */
function describe(thrown: unknown): Description {
  try {
    if (intact.isError(thrown))
      return { message: `${thrown.name}: ${thrown.message}`, stack: withCauses(thrown) };
    const text = inspectSafely(thrown);
    if (text !== NOT_PRINTABLE) return { message: `Uncaught ${text}`, stack: undefined };
  } catch {
    // A hostile error or proxy.
  }
  return { message: 'a value that cannot be printed was thrown', stack: undefined };
}

/** @returns what it said. */
export function logException(thrown: unknown): Description {
  const { message, stack } = describe(thrown);
  const text = escape(intact.slice(message, 0, MESSAGE_LENGTH_MAX));
  const rest = stack === undefined ? '' : `\\|${escape(intact.slice(stack, 0, MESSAGE_LENGTH_MAX))}`;
  withRequestId((id) => writeLine(`xe${id} ${text}${rest}`));
  return { message, stack };
}

function withCauses(error: Error): string | undefined {
  let stack = error.stack === undefined ? undefined : intact.toText(error.stack);
  let cause: unknown = error.cause;
  for (let depth = 0; depth < DEPTH_MAX && stack !== undefined && intact.isError(cause); depth += 1) {
    stack += `\nCaused by: ${cause.stack ?? intact.toText(cause)}`;
    cause = cause.cause;
  }
  return stack;
}

/** What the module exports, for the agent's trial start (nodes/logs/parse.ts). @param exports - JSON. */
export function logExports(exports: string): void {
  writeLine(`e ${escape(exports)}`);
}
