/** Event functions: `handler(event, context)`, called with JSON. */
import { seen } from './context.worker.ts';
import { guard } from './guard.worker.ts';
import * as intact from './intact.worker.ts';
import { REQUEST_ID } from './scope.worker.ts';

const DEADLINE_MS = 'isoplane-deadline-ms';
const PRINCIPAL = 'isoplane-principal';
const CLAIMS = 'isoplane-claims';

export type EventHandler = (event: unknown, context: unknown) => unknown;

export interface FunctionIdentity {
  readonly functionName: string;
  readonly functionVersion: number;
}

const { NativeResponse } = intact;
const StreamClass = ReadableStream;
const BufferClass = ArrayBuffer;
const decoder = new TextDecoder();
const decode = decoder.decode.bind(decoder);
const bytesOf = Uint8Array;
const binaryOf = atob;
const { codeAt, replaceAll, trim } = intact;

/** Members that a response is made of, without those that the user may have put on `Object.prototype`. */
const init = (members: ResponseInit): ResponseInit => intact.setPrototypeOf(members, null) as ResponseInit;
const typed = (type: string, status = 200): ResponseInit =>
  init({ status, headers: intact.setPrototypeOf({ 'content-type': type }, null) as Record<string, string> });

/** The JSON body; an empty one is `undefined`. */
async function readEvent(
  request: Request,
): Promise<{ readonly event: unknown } | { readonly problem: string }> {
  const text = await intact.readText(request);
  if (trim(text) === '') return { event: undefined };
  try {
    return { event: intact.parseJson(text) as unknown };
  } catch {
    return { problem: 'An event function takes a JSON body.' };
  }
}

function refuse(status: number, code: string, detail: string): Response {
  const quoted = intact.quoted(detail);
  return new NativeResponse(
    `{"type":"urn:isoplane:error:${code}","title":${quoted},"status":${status},"code":"${code}"}`,
    typed('application/problem+json', status),
  );
}

function claimsOf(request: Request): unknown {
  const encoded = intact.requestHeader(request, CLAIMS);
  if (encoded === null) return undefined;
  try {
    const binary = binaryOf(replaceAll(replaceAll(encoded, '-', '+'), '_', '/'));
    const bytes = new bytesOf(binary.length);
    for (let index = 0; index < binary.length; index += 1) bytes[index] = codeAt(binary, index);
    return intact.parseJson(decode(bytes)) as unknown;
  } catch {
    return undefined;
  }
}

function toResponse(result: unknown): Response {
  if (intact.isResponse(result)) return result;
  if (result === undefined) return new NativeResponse(null, init({ status: 204 }));
  if (typeof result === 'string') return new NativeResponse(result, typed('text/plain; charset=utf-8'));
  const isBody =
    intact.hasInstance(BufferClass, result) ||
    intact.hasInstance(StreamClass, result) ||
    intact.isView(result);
  if (isBody) return new NativeResponse(result as BodyInit, typed('application/octet-stream'));
  const json = intact.stringify(result);
  if (json === undefined)
    throw new intact.NativeTypeError('The handler returned a value that JSON cannot express.');
  return new NativeResponse(json, typed('application/json'));
}

async function answer(
  handler: EventHandler,
  identity: FunctionIdentity,
  { request, env, ctx }: { readonly request: Request; readonly env: unknown; readonly ctx: ExecutionContext },
): Promise<Response> {
  if (intact.methodOf(request) !== 'POST') {
    const response = refuse(
      405,
      'method_not_allowed',
      'An event function is called with POST and a JSON body.',
    );
    intact.setHeader(intact.responseHeadersOf(response), 'allow', 'POST');
    return response;
  }
  const startedMs = intact.now();
  const read = await readEvent(request);
  if ('problem' in read) return refuse(400, 'bad_request', read.problem);
  const remainingMs = intact.toNumber(intact.requestHeader(request, DEADLINE_MS) ?? 'none');
  const deadlineMs = intact.isFinite(remainingMs) ? startedMs + remainingMs : undefined;
  const context = {
    ...identity,
    requestId: intact.requestHeader(request, REQUEST_ID) ?? '',
    env,
    deadlineMs,
    getRemainingTimeMs: () =>
      deadlineMs === undefined ? Infinity : intact.max(0, deadlineMs - intact.now()),
    principal: intact.requestHeader(request, PRINCIPAL) ?? undefined,
    claims: claimsOf(request),
    waitUntil: (promise: Promise<unknown>) => ctx.waitUntil(promise),
  };
  return toResponse(await handler(read.event, context));
}

export function wrapHandler(handler: EventHandler, identity: FunctionIdentity): unknown {
  return {
    fetch: (request: Request, env: unknown, ctx: ExecutionContext) =>
      guard(request, () => answer(handler, identity, { request, env, ctx: seen(ctx) })),
  };
}
