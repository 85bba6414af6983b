/**
 * Builtins as they were before the user's module, which may replace every global and poison every
 * prototype: what logs and reports reaches them through here alone. A copy is a bound function, so a later
 * change of `Function.prototype` does not reach it either.
 */
// oxlint-disable typescript/unbound-method -- that they have no `this` yet is the point
type Unbound<This, Args extends unknown[], Result> = (this: This, ...values: Args) => Result;

const { bind, call } = Function.prototype;
const uncurry = bind.bind(call) as <This, Args extends unknown[], Result>(
  method: Unbound<This, Args, Result>,
) => (self: This, ...values: Args) => Result;

const sizeGetter = <This>(prototype: This): ((self: This) => number) =>
  uncurry(Object.getOwnPropertyDescriptor(prototype, 'size')?.get as Unbound<This, [], number>);

export const apply = Reflect.apply;
export const toText = String;
export const toNumber = Number;
export const { trunc } = Math;
export const { isNaN } = Number;
export const { isArray } = Array;
export const { keys: keysOf, getPrototypeOf } = Object;
export const { stringify } = JSON;
export const { now } = Date;

/** `exec` of a regular expression; `test`, `replaceAll` and the like look it up on the prototype. */
export const match = uncurry(RegExp.prototype.exec);
export const regExpText = uncurry(RegExp.prototype.toString);
export const slice = uncurry<string, [from: number, to?: number], string>(String.prototype.slice);
export const indexOf = uncurry<string, [text: string], number>(String.prototype.indexOf);
export const isoTime = uncurry(Date.prototype.toISOString);
export const timeOf = uncurry(Date.prototype.getTime);
export const header = uncurry<Headers, [name: string], string | null>(Headers.prototype.get);
const thenOf = uncurry<
  Promise<unknown>,
  [((value: unknown) => unknown) | undefined, (thrown: unknown) => unknown],
  unknown
>(Promise.prototype.then as never);

export const whenRejected = (promise: Promise<unknown>, tell: (thrown: unknown) => void): void =>
  void thenOf(promise, undefined, tell);

export const mapSize = sizeGetter<Map<unknown, unknown>>(Map.prototype);
export const eachOfMap = uncurry<
  Map<unknown, unknown>,
  [visit: (value: unknown, key: unknown) => void],
  void
>(Map.prototype.forEach);
export const setSize = sizeGetter<Set<unknown>>(Set.prototype);
export const eachOfSet = uncurry<Set<unknown>, [visit: (value: unknown) => void], void>(
  Set.prototype.forEach,
);
export const { isView } = ArrayBuffer;

const hasInstance = uncurry(Function.prototype[Symbol.hasInstance]);
const ErrorClass = Error;
const DateClass = Date;
const RegExpClass = RegExp;
const MapClass = Map;
const SetClass = Set;
const PromiseClass = Promise;

/** Of proxies, these throw what a trap throws. */
export const isError = (value: unknown): value is Error => hasInstance(ErrorClass, value);
export const isDate = (value: unknown): value is Date => hasInstance(DateClass, value);
export const isRegExp = (value: unknown): value is RegExp => hasInstance(RegExpClass, value);
export const isMap = (value: unknown): value is Map<unknown, unknown> => hasInstance(MapClass, value);
export const isSet = (value: unknown): value is Set<unknown> => hasInstance(SetClass, value);
export const isPromise = (value: unknown): value is Promise<unknown> => hasInstance(PromiseClass, value);

const weakHas = uncurry<WeakSet<object>, [value: object], boolean>(WeakSet.prototype.has);
const weakAdd = uncurry<WeakSet<object>, [value: object], unknown>(WeakSet.prototype.add);

/** Remembers objects without holding them. The first question about one answers false. */
export function seenBefore(seen: WeakSet<object>, value: object): boolean {
  if (weakHas(seen, value)) return true;
  weakAdd(seen, value);
  return false;
}
