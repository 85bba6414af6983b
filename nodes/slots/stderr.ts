/** What workerd says on stderr about a start that failed or a process that died. Pure. */

/** Printed by every start inside a root without /proc, and with garbage collector flags. */
const NOISE =
  /^Unable to find and open the program executable|compile cache failed its compatibility check|became the default as of .{1,64} so does not need to be specified|^\d+ external\/tcmalloc|^\[mutex\.cc : \d+\] RAW: pthread_getschedparam/;
/** V8's last words when the heap is full, and the allocator's. */
const OUT_OF_MEMORY =
  /Reached heap limit|JavaScript heap out of memory|Fatal (?:process|JavaScript) out of memory|std::bad_alloc|Cannot allocate memory/;

/** Addresses in the binary, which may span lines, and what KJ prints of a signal's context. */
const ADDRESSES =
  /^(?:\*\*\* Received signal|stack: |code: 0x)|^\s*(?:\S*workerd|\S+\.so[\d.]*|\?\?)@[0-9a-f]+/;
/** How KJ starts each line of its log: a place in workerd's own source, and a level. */
const PLACE = /^[\w./+-]+\.(?:c\+\+|cc|cpp|h|rs|capnp):\d+: (?:(?:info|warning|error|fatal|debug): )?/;

export const isNoise = (line: string): boolean =>
  NOISE.test(line) || ADDRESSES.test(line) || line.includes('NOSENTRY');
/** Without the place in workerd's source, when it starts with one. */
export const withoutPlace = (line: string): string => line.replace(PLACE, '');
export const saysOutOfMemory = (stderr: string): boolean => OUT_OF_MEMORY.test(stderr);

const IN = ' in ';
const POSITION = /.:\d{1,10}:\d{1,10}$/;
const POSITION_LENGTH_MAX = 32;

export interface StartupFailure {
  readonly message: string;
  readonly stack: string | undefined;
}

/**
 * `service main: Uncaught Error: boom` and its indented lines, or else the last words whatever they are.
 * Service names are ours and mean nothing to the user.
 */
export function parseStartupFailure(stderr: string): StartupFailure {
  const lines = stderr.split('\n').filter((line) => line.trim() !== '' && !isNoise(line));
  const uncaught = lines.findIndex((line) => line.startsWith('service main: '));
  if (uncaught < 0) {
    const message = lines.slice(-5).map(withoutPlace).join('\n');
    return { message: message === '' ? 'the process ended without a message' : message, stack: undefined };
  }
  const message = (lines[uncaught] ?? '').replace(/^service main: (?:Uncaught )?/, '');
  const stack: string[] = [];
  for (const line of lines.slice(uncaught + 1)) {
    if (!/^\s/.test(line)) break;
    stack.push(stackLine(line));
  }
  return { message, stack: stack.length === 0 ? undefined : [message, ...stack].join('\n') };
}

/** Of `at PLACE:LINE:COLUMN in NAME`, at its last ` in ` behind a position: file names may hold such words, too. */
function placeAndName(words: string): { readonly place: string; readonly name: string } | undefined {
  if (!words.startsWith('at ')) return undefined;
  for (let at = words.lastIndexOf(IN); at > 'at '.length; at = words.lastIndexOf(IN, at - 1)) {
    const name = words.slice(at + IN.length);
    if (name !== '' && POSITION.test(words.slice(Math.max(0, at - POSITION_LENGTH_MAX), at)))
      return { place: words.slice('at '.length, at), name };
  }
  return undefined;
}

/** `  at index.js:1:21 in f`, as workerd prints it → `    at f (index.js:1:21)`, as V8 does. */
export function stackLine(line: string): string {
  const words = line.trim();
  const match = placeAndName(words);
  return `    ${match === undefined ? words : `at ${match.name} (${match.place})`}`;
}
