/**
 * How many calls of one request may be open towards the platform at once; the rest wait for their turn. Each open
 * call has a socket, and workerd ends where the process may open no more files.
 *
 * Counted by request: what a request that was cancelled has left open is forgotten with it, and nobody waits for
 * the end of another request, which workerd does not allow.
 */
import * as intact from './intact.worker.ts';
import { currentScope } from './scope.worker.ts';

/** Above `limits.connections`, so that the proxy says what is too much. */
const OUTBOUND_EXTRA = 64;
const BINDINGS_MAX = 64;

type Work = () => unknown;

interface Waiting {
  readonly go: () => void;
  next: Waiting | undefined;
}

/** First in, first out. No array: its methods and setters can be poisoned. */
class Gate {
  readonly #max: number;
  #open = 0;
  #first: Waiting | undefined = undefined;
  #last: Waiting | undefined = undefined;

  constructor(max: number) {
    this.#max = max;
  }

  /** At once where there is room, so that what throws at once still does. */
  run(work: Work): unknown {
    return this.#open < this.#max ? this.#follow(work()) : this.#later(work);
  }

  #follow(result: unknown): unknown {
    return intact.isPromise(result) ? this.#held(result) : result;
  }

  async #held(result: Promise<unknown>): Promise<unknown> {
    this.#open += 1;
    try {
      return await result;
    } finally {
      this.#open -= 1;
      this.#wake();
    }
  }

  async #later(work: Work): Promise<unknown> {
    await new intact.NativePromise<void>((go) => this.#append({ go, next: undefined }));
    return this.#held(start(work));
  }

  #append(waiting: Waiting): void {
    if (this.#last === undefined) this.#first = waiting;
    else this.#last.next = waiting;
    this.#last = waiting;
  }

  #wake(): void {
    const first = this.#first;
    if (first === undefined) return;
    this.#first = first.next;
    if (this.#first === undefined) this.#last = undefined;
    first.go();
  }
}

async function start(work: Work): Promise<unknown> {
  return await work();
}

function gates(maxOf: () => number): (work: Work) => unknown {
  const byScope = new WeakMap<object, Gate>();
  const known = byScope.get.bind(byScope);
  const remember = byScope.set.bind(byScope);
  return (work) => {
    const scope = currentScope();
    if (scope === undefined) return work();
    let gate = known(scope);
    if (gate === undefined) {
      gate = new Gate(maxOf());
      remember(scope, gate);
    }
    return gate.run(work);
  };
}

let outboundMax = OUTBOUND_EXTRA;
export const outbound = gates(() => outboundMax);
export const towardsBinding = gates(() => BINDINGS_MAX);

/** @param connections - the version's limit. */
export function limitOutbound(connections: number): void {
  outboundMax = connections + OUTBOUND_EXTRA;
}

/** The methods of a class of the runtime, each a call of its own. */
export function watchMethods(prototype: object, names: readonly PropertyKey[]): void {
  for (let index = 0; index < names.length; index += 1) {
    const name = names[index] ?? '';
    const descriptor = intact.ownDescriptor(prototype, name);
    const original = descriptor?.value as ((...values: unknown[]) => unknown) | undefined;
    if (descriptor === undefined || typeof original !== 'function' || name === 'constructor') continue;
    // Like the original, a method has the name but neither prototype nor `new`.
    const replacement = {
      method(this: unknown, ...values: unknown[]): unknown {
        return towardsBinding(() => intact.apply(original, this, values));
      },
    };
    const method = intact.ownValue(replacement, 'method') as object;
    intact.define(method, 'name', { value: original.name, configurable: true });
    intact.define(method, 'length', { value: original.length, configurable: true });
    descriptor.value = method;
    // Refused by the flag `immutable_api_prototypes`.
    intact.define(prototype, name, descriptor);
  }
}
