/**
 * Headers between gateway and instance. All start with `isoplane-`; the gateway deletes every such
 * header that a client sent before it sets its own, and every such header of a response before it sets
 * the public ones, so inside and outside cannot be confused.
 */
export const HEADER_PREFIX = 'isoplane-';

/** Both directions, public: identifies the request in logs and errors. */
export const REQUEST_ID = 'isoplane-request-id';
/** To the instance, for event functions: ms that remain until the deadline when the request was sent. */
export const DEADLINE_MS = 'isoplane-deadline-ms';
/** To the instance, when it is not `http`: the URL scheme the client used, as programs behind proxies expect it. */
export const FORWARDED_PROTO = 'x-forwarded-proto';
/** The same for workerd, which puts it into request.url and hides it from the function; from and to every socket. */
export const SCHEME = 'isoplane-scheme';
/** To the instance: address of the client, under our name and under the one that Workers read. */
export const CLIENT_ADDRESS = 'isoplane-client-address';
export const CF_CONNECTING_IP = 'cf-connecting-ip';
/** To the instance: what workerd makes `request.cf` of, as JSON; without it, workerd puts in what it knows of its peer. */
export const CF = 'isoplane-cf';
/** Nothing of it is known. An object, since programs read members of it without a question. */
export const CF_UNKNOWN = '{}';
/** To the instance, after authentication: who calls (shared/principal.ts). */
export const PRINCIPAL = 'isoplane-principal';
/** To the instance: JSON of the verified token's claims, base64url. */
export const CLAIMS = 'isoplane-claims';
/**
 * From the instance, with each status 500: `function_error` when the handler threw (the gateway then answers a
 * problem document), {@link ANSWERED} when the function itself answered so. A 500 without it is workerd's own. From
 * the gateway to the client: `bystander_retried` when its first instance ended through no fault of the request.
 */
export const OUTCOME = 'isoplane-outcome';
const ANSWERED = 'answered';

/** Not the function's own answer. @param outcome - of the instance's response. */
export function isFunctionError(status: number, outcome: string | undefined): boolean {
  return status === 500 && outcome !== ANSWERED;
}
/** To a function that called another through a binding, with each problem: its code. The call then rejects. */
export const BINDING_ERROR = 'isoplane-binding-error';
/** From the gateway to the client: which version answered, and `1` when an instance had to be started. */
export const VERSION = 'isoplane-version';
export const COLD_START = 'isoplane-cold-start';
