/** `isoplane invoke`: a signed call. */
import { readFile, stat } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import process from 'node:process';
import { z } from 'zod';
import { functionViewSchema, versionViewSchema } from '#shared/contracts/api.ts';
import type { Style } from '#shared/contracts/config.ts';
import { signRequest, type SigningKey } from '#shared/signatures/sign.ts';
import { LIMITS } from '#shared/limits.ts';
import { aliasNameSchema, functionNameSchema } from '#shared/ids.ts';
import { Context } from '../context.ts';
import { CliError, EXIT } from '../failure.ts';
import type { ControlApi } from '../client/api.ts';
import { bestFor, hostIsClosed, hostUrl, routesTo, routeUrl, type Called } from '../client/addresses.ts';
import type { Connection } from '../client/connection.ts';
import { sendToGateway, type Outgoing } from '../client/gateway.ts';
import { untilLater, wasTooEarly } from '../client/sign-again.ts';
import { plain } from '../output.ts';
import { argument, usage } from './arguments.ts';
import { isNotFound, refusal } from './refusal.ts';

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
  const { dataBody, ...platform } = await curlHabit(context, options.dataBody);
  const { connection, api } = await platform.context.platform();
  let body = dataBody === undefined ? undefined : await readBody(dataBody);
  // An event function takes JSON by POST; nothing given means an empty object.
  if (body === undefined && options.method === undefined && (await styleOf(api, name, alias)) === 'event')
    body = new TextEncoder().encode('{}');
  const method = (options.method ?? (body === undefined ? 'GET' : 'POST')).toUpperCase();
  const headers = parseHeaders(options.header);
  if (body !== undefined) {
    headers['content-type'] ??= looksLikeJson(body) ? 'application/json' : 'application/octet-stream';
    headers['content-length'] = String(body.byteLength);
  }
  const key = await api.signingKey();
  const startedMs = performance.now();
  const call = (target: URL): Promise<IncomingMessage> =>
    callSigned(connection, key, { target, method, headers: { ...headers, host: target.host }, body });
  let response = await call(new URL(options.path, hostUrl(connection, { name, alias })));
  const elsewhere = isNotFound(response)
    ? await routeInstead(connection, api, { name, alias, path: options.path })
    : undefined;
  if (elsewhere !== undefined) {
    response.resume();
    response = await call(elsewhere);
  }
  const status = response.statusCode ?? 0;
  const read = await refusal(response, { api, name, alias });
  const content = read === undefined ? response : Readable.from([read]);
  if (options.include) showHead(response, performance.now() - startedMs);
  if (context.output.json) await printJson(response, content, status);
  else await pipeline(content, process.stdout, { end: false });
  if (!context.output.json && process.stdout.isTTY) process.stdout.write('\n');
  return status >= 400 ? EXIT.answered : EXIT.done;
}

async function callSigned(
  connection: Connection,
  key: SigningKey,
  { target, method, headers, body }: Outgoing,
): Promise<IncomingMessage> {
  const send = async (): Promise<IncomingMessage> => {
    const signed = await signRequest(
      { method, url: target.href, headers, ...(body === undefined ? {} : { body: new Uint8Array(body) }) },
      key,
      { nowMs: Date.now() },
    );
    return sendToGateway(connection, { target, method, headers: { ...headers, ...signed }, body });
  };
  const response = await send();
  const early = wasTooEarly({
    status: response.statusCode,
    contentType: response.headers['content-type'],
    retryAfter: response.headers['retry-after'],
  });
  if (!early) return response;
  response.resume();
  await untilLater();
  return send();
}

/** A function that has closed its own host is called where it answers. */
async function routeInstead(
  connection: Connection,
  api: ControlApi,
  { path, ...called }: Called & { readonly path: string },
): Promise<URL | undefined> {
  if (!(await hostIsClosed(api, called))) return undefined;
  const { pathname } = new URL(path, 'http://localhost/');
  const route = bestFor((await routesTo(api, called)) ?? [], pathname);
  return route === undefined ? undefined : routeUrl(connection, route, path);
}

/**
 * curl's `--data BODY`: here the option names the data folder, as with every command. What looks like a body
 * and is no folder is taken as one.
 */
async function curlHabit(
  context: Context,
  dataBody: string | undefined,
): Promise<{ readonly context: Context; readonly dataBody: string | undefined }> {
  const { data, ...rest } = context.options;
  if (data === undefined || dataBody !== undefined || !/^[[{"@-]|=/.test(data)) return { context, dataBody };
  const isFolder = await stat(data).then(
    (info) => info.isDirectory(),
    () => false,
  );
  if (isFolder) return { context, dataBody };
  context.output.note('--data names the data folder; taken as the body here. Write -d.');
  return { context: new Context(rest), dataBody: data };
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

function showHead(response: IncomingMessage, elapsedMs: number): void {
  const lines = [`HTTP ${response.statusCode} ${response.statusMessage ?? ''} (${elapsedMs.toFixed(1)} ms)`];
  for (const [name, value] of Object.entries(response.headers))
    lines.push(`${name}: ${plain(String(value))}`);
  process.stderr.write(`${lines.join('\n')}\n\n`);
}

const JSON_BODY_BYTES_MAX = 64 * 1024 * 1024;

/** One value: status, headers, and the body as JSON when it is JSON, else as text. */
async function printJson(response: IncomingMessage, content: Readable, status: number): Promise<void> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of content as AsyncIterable<Uint8Array>) {
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
