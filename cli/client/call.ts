/** One call of the control API, signed or with a token; failures come back as the PlatformErrors they describe. */
import process from 'node:process';
import type { z } from 'zod';
import { fromProblem, isErrorCode } from '#shared/errors.ts';
import { importSigningKey, signRequest } from '#shared/signatures/sign.ts';
import { CliError, EXIT } from '../failure.ts';
import { whileChanging } from '../interrupt.ts';
import type { AccessKey } from './key.ts';
import { untilLater, wasTooEarly } from './sign-again.ts';

export interface Endpoint {
  readonly controlUrl: string;
  readonly key: AccessKey;
  /** Reached by its URL, not through a data folder of this machine. */
  readonly remote: boolean;
}

export interface CallOptions {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly json?: unknown;
  readonly form?: FormData;
  readonly signal?: AbortSignal;
  /** Of a change: what a person should know who interrupts it. */
  readonly interrupted?: string;
}

/** Publishing waits for a trial start; nothing here takes longer than that plus the upload. */
const CALL_TIMEOUT_MS = 120_000;

export function callControl<S extends z.ZodType>(
  endpoint: Endpoint,
  path: string,
  schema: S,
  options: CallOptions = {},
): Promise<z.infer<S>> {
  const signals = [options.signal ?? AbortSignal.timeout(CALL_TIMEOUT_MS)];
  const call = async (signal: AbortSignal): Promise<z.infer<S>> => {
    const response = await sendControl(endpoint, path, { ...options, signal });
    const text = await response.text();
    return schema.parse(text === '' ? undefined : parseJson(text));
  };
  if ((options.method ?? 'GET') === 'GET') return call(AbortSignal.any(signals));
  return whileChanging(
    (interruption) => call(AbortSignal.any([...signals, interruption])),
    options.interrupted,
  );
}

/** Gives answers of 2xx only. */
export async function sendControl(endpoint: Endpoint, path: string, options: CallOptions): Promise<Response> {
  let response = await send(endpoint, path, options);
  const { status, headers } = response;
  if (
    wasTooEarly({
      status,
      contentType: headers.get('content-type'),
      retryAfter: headers.get('retry-after'),
    })
  ) {
    await response.body?.cancel();
    await untilLater();
    response = await send(endpoint, path, options);
  }
  if (response.ok) return response;
  const problem = parseJson(await response.text());
  const what = `${options.method ?? 'GET'} ${path} answered ${response.status}`;
  if (!isProblem(problem) && endpoint.remote) throw notControl(endpoint, response);
  throw fromProblem(problem, what);
}

function isProblem(body: unknown): boolean {
  return typeof body === 'object' && body !== null && 'code' in body && isErrorCode(body.code);
}

/** Something else answers there: another site, a proxy whose upstream is gone, a redirect to TLS. */
function notControl(endpoint: Endpoint, response: Response): CliError {
  const { origin } = new URL(endpoint.controlUrl);
  const location = response.headers.get('location');
  const to =
    location !== null && URL.canParse(location, origin) ? new URL(location, origin).origin : undefined;
  return new CliError(
    'platform_unreachable',
    `${origin} answered ${response.status}, and not as a control API does.`,
    {
      exitCode: EXIT.unreachable,
      advice:
        to !== undefined && to !== origin
          ? `It redirects to ${to}: give that URL.`
          : 'Give the URL of the control API (`isoplane up` prints it), not that of the gateway; behind a proxy, look at the proxy.',
    },
  );
}

async function send(endpoint: Endpoint, path: string, options: CallOptions): Promise<Response> {
  const url = new URL(path, endpoint.controlUrl);
  const method = options.method ?? 'GET';
  const { body, contentType } = await encodeBody(options);
  const headers: Record<string, string> = { accept: 'application/json, application/x-ndjson' };
  if (contentType !== undefined) headers['content-type'] = contentType;
  const proof = await proofOf(endpoint.key, { method, url, headers, body });
  try {
    return await fetch(url, {
      method,
      headers: { ...headers, ...proof },
      // What was signed for one address fits no other, and a token is for this one alone.
      redirect: 'manual',
      ...(body === undefined ? {} : { body }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
  } catch (thrown) {
    if (
      options.signal?.aborted === true &&
      !(thrown instanceof DOMException && thrown.name === 'TimeoutError')
    )
      throw thrown;
    throw new CliError('platform_unreachable', `The control API at ${url.origin} does not answer.`, {
      advice: unreachableAdvice(endpoint, thrown),
      exitCode: EXIT.unreachable,
      cause: thrown,
    });
  }
}

async function proofOf(
  key: AccessKey,
  request: {
    readonly method: string;
    readonly url: URL;
    readonly headers: Readonly<Record<string, string>>;
    readonly body: Uint8Array<ArrayBuffer> | undefined;
  },
): Promise<Record<string, string>> {
  if (key.kind === 'token') return { authorization: `Bearer ${key.token}` };
  const { method, url, headers, body } = request;
  return signRequest(
    { method, url: url.href, headers, ...(body === undefined ? {} : { body }) },
    await importSigningKey(key.credentials),
    { nowMs: Date.now() },
  );
}

function unreachableAdvice(endpoint: Endpoint, thrown: unknown): string {
  if (endpoint.remote) {
    const { cause } = thrown as { cause?: unknown };
    return `Check the URL and the network${cause instanceof Error ? ` (${cause.message})` : ''}; \`isoplane whoami\` tries again.`;
  }
  return `Start the platform with \`npx isoplane up\` (in the repository: \`npm start\`); ${process.env['ISOPLANE_DATA_DIR'] === undefined ? 'with several platforms, name the folder with --data DIR' : 'ISOPLANE_DATA_DIR names its folder'}.`;
}

/** The whole body as bytes: it is signed by its digest, so it cannot be streamed. */
async function encodeBody(
  options: CallOptions,
): Promise<{ body?: Uint8Array<ArrayBuffer>; contentType?: string }> {
  if (options.json !== undefined)
    return { body: new TextEncoder().encode(JSON.stringify(options.json)), contentType: 'application/json' };
  if (options.form === undefined) return {};
  const encoded = new Response(options.form);
  return {
    body: new Uint8Array(await encoded.arrayBuffer()),
    contentType: encoded.headers.get('content-type') ?? 'multipart/form-data',
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
