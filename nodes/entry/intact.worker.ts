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

export const { apply, construct, ownKeys, get: getOf, deleteProperty: deleteOwn } = Reflect;
export const toText = String;
export const toNumber = Number;
export const { trunc, max } = Math;
export const { isNaN, isFinite } = Number;
export const { isArray } = Array;
export const { keys: keysOf, getPrototypeOf, setPrototypeOf, create, hasOwn } = Object;
export const { parse: parseJson } = JSON;
export const { now } = Date;
/** Of text alone: of objects it would ask for a `toJSON` that the user may have put on a prototype. */
export const quoted: (text: string) => string = JSON.stringify;
export const stringify = JSON.stringify as (value: unknown) => string | undefined;
export const NativeTypeError = TypeError;
export const NativeRequest = Request;
export const NativeError = Error;
export const NativeResponse = Response;
export const NativePromise = Promise;

const defineOwn = Reflect.defineProperty;
const descriptorOf = Object.getOwnPropertyDescriptor;

/** A literal has the user's `get` and `set` where he put them on `Object.prototype`, and describes nothing then. */
function bare(descriptor: PropertyDescriptor | undefined): PropertyDescriptor | undefined {
  return descriptor === undefined ? undefined : (setPrototypeOf(descriptor, null) as PropertyDescriptor);
}

export const ownDescriptor = (target: object, name: PropertyKey): PropertyDescriptor | undefined =>
  bare(descriptorOf(target, name));

/** Undefined where it is an accessor: what the descriptor inherits is the user's. */
export function ownValue(target: object, name: PropertyKey): unknown {
  const descriptor = descriptorOf(target, name);
  return descriptor !== undefined && hasOwn(descriptor, 'value') ? (descriptor.value as unknown) : undefined;
}

/** @returns false: the target does not allow it. */
export const define = (target: object, name: PropertyKey, descriptor: PropertyDescriptor): boolean =>
  defineOwn(target, name, bare(descriptor) ?? descriptor);

/** `exec` of a regular expression; `test`, `replaceAll` and the like look it up on the prototype. */
export const match = uncurry(RegExp.prototype.exec);
export const regExpText = uncurry(RegExp.prototype.toString);
export const slice = uncurry<string, [from: number, to?: number], string>(String.prototype.slice);
export const indexOf = uncurry<string, [text: string], number>(String.prototype.indexOf);
export const codeAt = uncurry<string, [index: number], number>(String.prototype.charCodeAt);
export const trim = uncurry<string, [], string>(String.prototype.trim);
export const replaceAll = uncurry<string, [from: string, to: string], string>(
  String.prototype.replaceAll as never,
);
export const listen = uncurry<EventTarget, [type: string, listener: () => void], void>(
  EventTarget.prototype.addEventListener as never,
);
export const stopEvent = uncurry<Event, [], void>(Event.prototype.stopImmediatePropagation);
export const isoTime = uncurry(Date.prototype.toISOString);
export const timeOf = uncurry(Date.prototype.getTime);
/** Compatibility dates before 2022-01-31 have no getters: there each object has the values itself, read-only. */
function getterOf<This extends object, Name extends keyof This>(
  prototype: This,
  name: Name,
): (self: This) => This[Name] {
  for (
    let owner: object | null = prototype;
    owner !== null;
    owner = Object.getPrototypeOf(owner) as object | null
  ) {
    const get = Object.getOwnPropertyDescriptor(owner, name)?.get as
      | Unbound<This, [], This[Name]>
      | undefined;
    if (get !== undefined) return uncurry(get);
  }
  return (self) => self[name];
}

const headersOf = getterOf(Request.prototype, 'headers');
const headerOf = uncurry<Headers, [name: string], string | null>(Headers.prototype.get);
export const methodOf = getterOf(Request.prototype, 'method');
export const requestHeader = (request: Request, name: string): string | null =>
  headerOf(headersOf(request), name);
const responseHeadersOf = getterOf(Response.prototype, 'headers');
export const responseHeader = (response: Response, name: string): string | null =>
  headerOf(responseHeadersOf(response), name);
export const setHeader = uncurry<Headers, [name: string, value: string], void>(Headers.prototype.set);
export const deleteHeader = uncurry<Headers, [name: string], void>(Headers.prototype.delete);
export { headersOf, responseHeadersOf };
export const statusOf = getterOf(Response.prototype, 'status');
export const bodyUsedOf = getterOf(Response.prototype, 'bodyUsed');
export const bodyOf = getterOf(Response.prototype, 'body');
export const readJson = uncurry<Response, [], Promise<unknown>>(Response.prototype.json);
export const readText = uncurry<Request, [], Promise<string>>(Request.prototype.text);
export const urlOf = getterOf(Request.prototype, 'url');

/** `then` would ask the promise for a `constructor`, and what is found there for a class. */
export async function whenRejected(
  promise: Promise<unknown>,
  tell: (thrown: unknown) => void,
): Promise<void> {
  try {
    await promise;
  } catch (thrown) {
    tell(thrown);
  }
}

export async function whenSettled(promise: Promise<unknown>, tell: () => void): Promise<void> {
  try {
    await promise;
  } catch {
    // Whoever has the promise hears of it.
  }
  tell();
}

export const mapSize = getterOf<Map<unknown, unknown>, 'size'>(Map.prototype, 'size');
export const eachOfMap = uncurry<
  Map<unknown, unknown>,
  [visit: (value: unknown, key: unknown) => void],
  void
>(Map.prototype.forEach);
export const setSize = getterOf<Set<unknown>, 'size'>(Set.prototype, 'size');
export const eachOfSet = uncurry<Set<unknown>, [visit: (value: unknown) => void], void>(
  Set.prototype.forEach,
);
export const { isView } = ArrayBuffer;

/** `instanceof` asks the class, which the user may have taught what he likes. */
export const hasInstance = uncurry(Function.prototype[Symbol.hasInstance]) as (
  of: object,
  value: unknown,
) => boolean;
const ErrorClass = Error;
const DateClass = Date;
const RegExpClass = RegExp;
const MapClass = Map;
const SetClass = Set;
const PromiseClass = Promise;
const ResponseClass = Response;

/** Of proxies, these throw what a trap throws. */
export const isError = (value: unknown): value is Error => hasInstance(ErrorClass, value);
export const isDate = (value: unknown): value is Date => hasInstance(DateClass, value);
export const isRegExp = (value: unknown): value is RegExp => hasInstance(RegExpClass, value);
export const isMap = (value: unknown): value is Map<unknown, unknown> => hasInstance(MapClass, value);
export const isSet = (value: unknown): value is Set<unknown> => hasInstance(SetClass, value);
export const isPromise = (value: unknown): value is Promise<unknown> => hasInstance(PromiseClass, value);

const weakHas = uncurry<WeakSet<object>, [value: object], boolean>(WeakSet.prototype.has);
const weakAdd = uncurry<WeakSet<object>, [value: object], unknown>(WeakSet.prototype.add);

export const isResponse = (value: unknown): value is Response => hasInstance(ResponseClass, value);

/** Remembers objects without holding them. The first question about one answers false. */
export function seenBefore(seen: WeakSet<object>, value: object): boolean {
  if (weakHas(seen, value)) return true;
  weakAdd(seen, value);
  return false;
}
