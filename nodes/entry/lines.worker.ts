/**
 * Lines on stdout that the agent believes to be the entry code's own: they begin with a mark that user code cannot
 * know. workerd formats each line by code of this very isolate, with three methods that the user may have
 * replaced; while a line is written they are the original ones.
 */
import * as intact from './intact.worker.ts';

// oxlint-disable-next-line no-console -- stdout of a function is where its console goes
const write = console.log.bind(console);

interface Used {
  readonly owner: object;
  readonly name: PropertyKey;
  readonly original: PropertyDescriptor;
}

function used(owner: object, name: PropertyKey): Used {
  return { owner, name, original: intact.ownDescriptor(owner, name) ?? {} };
}

/** What `formatLog` of workerd (node-internal:internal_inspect) does with a single text. */
const pop = used(Array.prototype, 'pop');
const iterator = used(Array.prototype, Symbol.iterator);
const next = used(intact.getPrototypeOf([][Symbol.iterator]()) as object, 'next');

const isOriginal = ({ owner, name, original }: Used): boolean =>
  intact.ownValue(owner, name) === original.value;

/** Runs `work` with the original in place. @returns false: the user has fixed his own there, and nothing was done. */
function withOriginal({ owner, name, original }: Used, work: () => boolean): boolean {
  const replaced = intact.ownDescriptor(owner, name);
  if (!intact.define(owner, name, original)) return false;
  try {
    return work();
  } finally {
    if (replaced === undefined) intact.deleteOwn(owner, name);
    else intact.define(owner, name, replaced);
  }
}

let mark = '';

/** Before the user's module runs. @param secret - without a space. */
export function markLines(secret: string): void {
  mark = `~${secret}`;
}

/** Who makes it impossible to write a line that says the truth is not heard. */
export function writeLine(text: string): void {
  const line = `${mark}${text}`;
  if (isOriginal(pop) && isOriginal(iterator) && isOriginal(next)) return write(line);
  withOriginal(pop, () =>
    withOriginal(iterator, () =>
      withOriginal(next, () => {
        write(line);
        return true;
      }),
    ),
  );
}
