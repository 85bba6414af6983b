/**
 * `isoplane invoke`: a signed call. The connection goes to the gateway's address and the function's name
 * travels in the Host header, because not every machine resolves `*.localhost`.
 */
import { readFile } from 'node:fs/promises';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { pipeline } from 'node:stream/promises';
import process from 'node:process';
import { z } from 'zod';
import { functionViewSchema, versionViewSchema } from '#shared/contracts/api.ts';
import type { Style } from '#shared/contracts/config.ts';
import { signRequest } from '#shared/signatures/sign.ts';
import { LIMITS } from '#shared/limits.ts';
import { aliasNameSchema, functionNameSchema } from '#shared/ids.ts';
import type { Context } from '../context.ts';
import { CliError, EXIT } from '../failure.ts';
import type { ControlApi } from '../client/api.ts';
import { functionUrl } from '../client/connection.ts';
import { plain } from '../output.ts';
import { argument, usage } from './arguments.ts';

const optionsSchema = z.object({
  method: z
    .string()
    .regex(/^[A-Za-z]{1,20}$/, 'a method is a word')
    .optional(),
  dataBody: z.string().optional(),
  header: z.array(z.string()).default([]),
  path: z.string().startsWith('/', 'a path starts with /'),
  alias: z.string(),
  include: z.boolean().default(false),
});

export async function invoke(
  context: Context,
  args: readonly string[],
  given: Record<string, unknown>,
): Promise<number> {
  const options = argument('options', given, optionsSchema);
  const name = argument('function', args[0], functionNameSchema);
  const alias = argument('--alias', options.alias, aliasNameSchema);
  const { connection, api } = await context.platform();
  const target = new URL(
    options.path,
    functionUrl(connection, alias === 'live' ? name : `${alias}--${name}`),
  );
  let body = options.dataBody === undefined ? undefined : await readBody(options.dataBody);
  // An event function takes JSON by POST; nothing given means an empty object.
  if (body === undefined && options.method === undefined && (await styleOf(api, name, alias)) === 'event')
    body = new TextEncoder().encode('{}');
  const method = (options.method ?? (body === undefined ? 'GET' : 'POST')).toUpperCase();
  const headers = parseHeaders(options.header);
  headers['host'] = target.host;
  if (body !== undefined) {
    headers['content-type'] ??= looksLikeJson(body) ? 'application/json' : 'application/octet-stream';
    headers['content-length'] = String(body.byteLength);
  }
  const signed = await signRequest(
    { method, url: target.href, headers, ...(body === undefined ? {} : { body }) },
    await api.signingKey(),
    { nowMs: Date.now() },
  );
  const startedMs = performance.now();
  const response = await send(connection.platform.gatewayUrl, {
    target,
    method,
    headers: { ...headers, ...signed },
    body,
  });
  const status = response.statusCode ?? 0;
  if (options.include) showHead(response, performance.now() - startedMs);
  if (context.output.json) await printJson(response, status);
  else await pipeline(response, process.stdout, { end: false });
  if (!context.output.json && process.stdout.isTTY) process.stdout.write('\n');
  return status >= 400 ? EXIT.answered : EXIT.done;
}

/** Undefined when control does not say: calling must not depend on it. */
async function styleOf(api: ControlApi, name: string, alias: string): Promise<Style | undefined> {
  try {
    const path = api.path(`/functions/${name}`);
    const view = await api.call(path, functionViewSchema);
    const version = view.aliases.find((entry) => entry.name === alias)?.weights[0]?.version;
    if (version === undefined) return undefined;
    return (await api.call(`${path}/versions/${version}`, versionViewSchema)).config.style;
  } catch {
    return undefined;
  }
}

/** `@FILE`, `-` for stdin, else the text itself. */
async function readBody(given: string): Promise<Uint8Array<ArrayBuffer>> {
  let bytes: Uint8Array;
  if (given === '-') bytes = await readStdin();
  else if (given.startsWith('@')) {
    const path = given.slice(1);
    bytes = await readFile(path).catch((thrown: NodeJS.ErrnoException) => {
      throw usage(`-d: ${path} cannot be read (${thrown.code ?? 'unknown cause'})`);
    });
  } else bytes = new TextEncoder().encode(given);
  if (bytes.byteLength > LIMITS.digestBodyBytesMax) {
    throw new CliError(
      'body_too_large',
      `The body has ${bytes.byteLength} bytes; a signed body may have ${LIMITS.digestBodyBytesMax}.`,
    );
  }
  return new Uint8Array(bytes);
}

async function readStdin(): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of process.stdin as AsyncIterable<Uint8Array>) {
    size += chunk.byteLength;
    chunks.push(chunk);
    if (size > LIMITS.digestBodyBytesMax) break;
  }
  return Buffer.concat(chunks);
}

const RESERVED = new Set([
  'host',
  'content-length',
  'transfer-encoding',
  'connection',
  'signature',
  'signature-input',
  'content-digest',
]);

function parseHeaders(given: readonly string[]): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const line of given) {
    const colon = line.indexOf(':');
    const name = line.slice(0, colon).trim().toLowerCase();
    if (colon < 1 || !/^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name))
      throw usage(`-H: write "name: value" (given: ${JSON.stringify(line)})`);
    if (RESERVED.has(name)) throw usage(`-H: ${name} is set by the command itself`);
    headers[name] = line.slice(colon + 1).trim();
  }
  return headers;
}

function looksLikeJson(body: Uint8Array): boolean {
  try {
    JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
    return true;
  } catch {
    return false;
  }
}

interface Outgoing {
  readonly target: URL;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | undefined;
}

function send(gatewayUrl: string, { target, method, headers, body }: Outgoing): Promise<IncomingMessage> {
  const gateway = new URL(gatewayUrl);
  return new Promise((resolve, reject) => {
    const request = httpRequest({
      host: gateway.hostname.replaceAll(/^\[|\]$/g, ''),
      port: gateway.port === '' ? 80 : Number(gateway.port),
      path: `${target.pathname}${target.search}`,
      method,
      headers,
      agent: false,
    });
    request.once('response', resolve);
    request.once('error', (error) =>
      reject(
        new CliError('gateway_unreachable', `The gateway at ${gateway.origin} does not answer.`, {
          advice: 'Start the platform with `npm start`.',
          exitCode: EXIT.unreachable,
          cause: error,
        }),
      ),
    );
    request.end(body);
  });
}

function showHead(response: IncomingMessage, elapsedMs: number): void {
  const lines = [`HTTP ${response.statusCode} ${response.statusMessage ?? ''} (${elapsedMs.toFixed(1)} ms)`];
  for (const [name, value] of Object.entries(response.headers))
    lines.push(`${name}: ${plain(String(value))}`);
  process.stderr.write(`${lines.join('\n')}\n\n`);
}

const JSON_BODY_BYTES_MAX = 64 * 1024 * 1024;

/** One value: status, headers, and the body as JSON when it is JSON, else as text. */
async function printJson(response: IncomingMessage, status: number): Promise<void> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Uint8Array>) {
    size += chunk.byteLength;
    if (size > JSON_BODY_BYTES_MAX)
      throw new CliError(
        'body_too_large',
        `The answer is larger than --json can hold (${JSON_BODY_BYTES_MAX} bytes).`,
      );
    chunks.push(chunk);
  }
  const text = Buffer.concat(chunks).toString('utf8');
  let body: unknown = text;
  if (/\bjson\b/.test(response.headers['content-type'] ?? '')) {
    try {
      body = JSON.parse(text);
    } catch {
      // Claimed to be JSON and is not: the text itself is the honest answer.
    }
  }
  process.stdout.write(`${JSON.stringify({ status, headers: response.headers, body })}\n`);
}
