/**
 * `env.BINDING.limit({ key })` of a rate-limit binding, as Workers has it. workerd calls the default export with the
 * socket of the agent that counts (workerd.capnp: WrappedBinding) before any code of the user runs.
 */
import * as intact from './intact.worker.ts';

/** Of a key, escaped: the agent reads no longer target. */
const ESCAPED_LENGTH_MAX = 8_000;
const ALLOWED = 204;
const REACHED = 429;

const escapeText = encodeURIComponent;
const { isSafeInteger } = Number;

interface Agent {
  fetch(url: string): Promise<Response>;
}

function fieldOf(options: unknown, name: string): unknown {
  return typeof options === 'object' && options !== null
    ? (options as Record<string, unknown>)[name]
    : undefined;
}

class RateLimit {
  readonly #ask: (target: string) => Promise<Response>;

  constructor(ask: (target: string) => Promise<Response>) {
    this.#ask = ask;
  }

  async limit(options: unknown): Promise<{ success: boolean }> {
    const key = fieldOf(options, 'key');
    if (typeof key !== 'string') throw new TypeError('limit() takes { key }, and the key is a string.');
    const delta = fieldOf(options, 'delta') ?? 1;
    if (!isSafeInteger(delta) || (delta as number) < 1)
      throw new TypeError('The delta of limit() is a whole number from 1.');
    const escaped = escapeText(key);
    if (escaped.length > ESCAPED_LENGTH_MAX)
      throw new TypeError('The key of limit() is too long: digest what may have more than 2,000 bytes.');
    const status = intact.statusOf(
      await this.#ask(`http://rate-limit/?key=${escaped}&amount=${delta as number}`),
    );
    if (status !== ALLOWED && status !== REACHED)
      throw new Error(`The rate limit could not be asked: status ${status}.`);
    return { success: status === ALLOWED };
  }
}

export default function rateLimit({ agent }: { readonly agent: Agent }): RateLimit {
  // The user's code can replace the method on the class, which all bindings share.
  // oxlint-disable-next-line typescript/unbound-method -- given its `this` below
  const { fetch } = agent;
  return new RateLimit((target) => intact.apply<Agent, [string], Promise<Response>>(fetch, agent, [target]));
}
