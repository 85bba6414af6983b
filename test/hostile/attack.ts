/**
 * An attack as data: a function that somebody hostile wrote, how it is called, and what must hold.
 *
 * Held is never "it threw something": each attack names the refusal that it expects, so that a mistake in
 * the attack does not pass for a closed door.
 */
import { createHash } from 'node:crypto';
import type { FunctionConfigInput } from '#shared/contracts/config.ts';
import type { LogEntry } from '#shared/contracts/nodes.ts';
import type { Source } from '../support/api.ts';
import type { CallAnswer, CallOptions, TestPlatform } from '../support/platform.ts';

/** The function under attack, deployed and public. */
export interface Target {
  readonly platform: TestPlatform;
  readonly name: string;
  call(options?: CallOptions): Promise<CallAnswer>;
}

export interface AnswerMust {
  readonly status: number | readonly number[];
  /** Of the problem document; undefined: the function's own answer. */
  readonly code?: string | readonly (string | undefined)[];
  readonly text?: RegExp;
}

type Must =
  | { readonly kind: 'answer'; readonly answer: AnswerMust }
  /** The upload never becomes a version. */
  | { readonly kind: 'refused_upload'; readonly code: string; readonly reason: RegExp }
  /** What an answer cannot show; throws, or resolves with what went wrong. */
  | { readonly kind: 'check'; readonly check: (target: Target) => Promise<string | undefined> };

interface LogMust {
  readonly kind: LogEntry['kind'];
  readonly message: RegExp;
}

export interface Attack {
  /** Unique in the whole suite. */
  readonly name: string;
  readonly modules: Readonly<Record<string, Source>>;
  readonly config?: Partial<FunctionConfigInput>;
  readonly call?: CallOptions;
  readonly must: Must;
  readonly log?: LogMust;
  /** Afterwards the function itself answers this path again, in a new instance if need be. */
  readonly recovers?: string;
  /**
   * What a server of the suite must have heard because of this attack, once it is over: without that the attack
   * was not carried out, and a server that is out of reach would pass for a closed door.
   */
  readonly heard?: RegExp;
}

/** Of the function that carries out an attack: readable, and as unique as the attack's own name. */
export function functionNameOf(attackName: string): string {
  const slug = attackName.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-');
  const tag = createHash('sha256').update(attackName).digest('hex').slice(0, 8);
  return `x-${slug}`.slice(0, 50).replaceAll(/-+$/g, '') + `-${tag}`;
}

type Extra = Partial<Omit<Attack, 'name' | 'modules' | 'must'>>;

/** A whole module in `index.js`. */
export function attack(name: string, source: string, answer: AnswerMust, extra: Extra = {}): Attack {
  return { name, modules: { 'index.js': source }, must: { kind: 'answer', answer }, ...extra };
}

/** Body of `fetch`; what it returns is the answer. */
export function handler(name: string, body: string, answer: AnswerMust, extra: Extra = {}): Attack {
  return attack(name, `export default { async fetch(request, env, ctx) { ${body} } };`, answer, extra);
}

/**
 * An attempt that must be refused. What it returns is loot; what it throws is the refusal, and `held` must
 * describe it.
 */
export function door(name: string, attempt: string, held: RegExp, extra: Extra = {}): Attack {
  return attack(
    name,
    `const attempt = async (request, env, ctx) => { ${attempt} };
export default {
  async fetch(request, env, ctx) {
    try {
      return new Response('ESCAPED: ' + JSON.stringify(await attempt(request, env, ctx)));
    } catch (refusal) {
      return new Response('held: ' + refusal);
    }
  },
};`,
    { status: 200, text: new RegExp(`^held: .*(?:${held.source})`, `s${held.flags}`) },
    extra,
  );
}

/** How an answer misses what it must be; undefined when it does not. */
export function answerProblem(answer: CallAnswer, must: AnswerMust): string | undefined {
  const statuses: readonly number[] = [must.status].flat();
  const codes: readonly (string | undefined)[] = [must.code].flat();
  const fits =
    statuses.includes(answer.status) &&
    codes.includes(answer.code) &&
    (must.text === undefined || must.text.test(answer.text));
  if (fits) return undefined;
  return `answered ${answer.status} ${answer.code ?? ''} ${JSON.stringify(answer.text.slice(0, 600))}, must be ${statuses.join('|')} ${codes.join('|')} ${must.text ?? ''}`;
}
