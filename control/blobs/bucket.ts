/**
 * A bucket behind the S3 API. Every call ends, is tried again a few times when the server is to blame, and fails with
 * a code that says who can mend it. At most {@link TRANSFERS_MAX} blobs are in memory for it at once.
 *
 * Requests are signed by aws4fetch and sent by `fetch`; objects are named in the path (`ENDPOINT/BUCKET/KEY`), which
 * every server understands.
 */
import { createHash } from 'node:crypto';
import { AwsClient } from 'aws4fetch';
import { PlatformError } from '#shared/errors.ts';
import { transportReason } from '#shared/http/fetch-failure.ts';
import { Semaphore } from '../db/semaphore.ts';
import type { BucketPlace } from './url.ts';

export interface BucketOptions extends BucketPlace {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly random: () => number;
  /** Of one attempt, beside the time that its bytes take. Default 10,000. */
  readonly timeoutMs?: number;
}

interface Sent {
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'DELETE';
  readonly key: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
}

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly bytes: Uint8Array;
}

const TIMEOUT_MS = 10_000;
/** What a slow line carries in a second; more time is given for each. */
const SLOW_BYTES = 512 * 1_024;
const ATTEMPTS_MAX = 4;
const TRANSFERS_MAX = 8;
const WAITING_MAX = 1_000;
/** The largest blob is one module of a bundle; a list is less. */
const OBJECT_BYTES_MAX = 64 * 1_048_576;
const RETRY_AFTER_MS = 2_000;

/** The server, or the way to it. */
class Transient extends Error {}

export class Bucket {
  /** For operators. */
  readonly name: string;
  readonly #options: BucketOptions;
  readonly #aws: AwsClient;
  readonly #transfers = new Semaphore(TRANSFERS_MAX, WAITING_MAX);

  constructor(options: BucketOptions) {
    const { accessKeyId, secretAccessKey, region, bucket, endpoint } = options;
    this.#options = options;
    this.name = `bucket ${bucket} at ${new URL(endpoint).host}`;
    this.#aws = new AwsClient({ accessKeyId, secretAccessKey, region, service: 's3', retries: 0 });
  }

  /** undefined: there is no such object. */
  async get(key: string): Promise<Uint8Array | undefined> {
    const { status, bytes } = await this.#send({ method: 'GET', key });
    return status === 404 ? undefined : bytes;
  }

  /** In bytes. */
  async size(key: string): Promise<number | undefined> {
    const { status, headers } = await this.#send({ method: 'HEAD', key });
    return status === 404 ? undefined : Number(headers.get('content-length') ?? 0);
  }

  /** The server checks the bytes against their digest. */
  async put(key: string, body: Uint8Array): Promise<void> {
    await this.#send({ method: 'PUT', key, body });
  }

  /** What is not there is removed. */
  async remove(key: string): Promise<void> {
    await this.#send({ method: 'DELETE', key });
  }

  /** Keys below `prefix`, without it. */
  async *list(prefix: string): AsyncGenerator<string> {
    const whole = this.#keyOf(prefix);
    for (let token: string | undefined; ;) {
      const query = {
        'list-type': '2',
        prefix: whole,
        ...(token === undefined ? {} : { 'continuation-token': token }),
      };
      const { bytes } = await this.#send({ method: 'GET', key: '', query });
      const text = Buffer.from(bytes).toString('utf8');
      for (const key of textsOf(text, 'Key')) if (key.startsWith(whole)) yield key.slice(whole.length);
      [token] = textsOf(text, 'NextContinuationToken');
      if (token === undefined) return;
    }
  }

  #keyOf(key: string): string {
    return `${this.#options.prefix}${key}`;
  }

  async #send(sent: Sent): Promise<Answer> {
    return this.#transfers.run(async () => {
      for (let attempt = 1; ; attempt += 1) {
        try {
          return await this.#attempt(sent);
        } catch (thrown) {
          if (!(thrown instanceof Transient)) throw thrown;
          if (attempt >= ATTEMPTS_MAX)
            throw new PlatformError('blobs_unreachable', `${this.name} does not answer: ${thrown.message}`, {
              retryAfterMs: RETRY_AFTER_MS,
            });
          const pauseMs = 50 * 2 ** attempt * (0.5 + this.#options.random());
          await new Promise((resolve) => setTimeout(resolve, pauseMs));
        }
      }
    });
  }

  async #attempt({ method, key, query = {}, body }: Sent): Promise<Answer> {
    const { endpoint, bucket, timeoutMs = TIMEOUT_MS } = this.#options;
    const path = key === '' ? '' : `/${this.#keyOf(key)}`;
    const url = new URL(`${endpoint.replace(/\/$/, '')}/${bucket}${path}`);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const request = await this.#aws.sign(url.href, {
      method,
      headers: {
        // Signed, so that what arrives is what was sent.
        'x-amz-content-sha256': createHash('sha256')
          .update(body ?? '')
          .digest('hex'),
      },
      ...(body === undefined ? {} : { body: new Uint8Array(body) }),
    });
    const bytes = body?.byteLength ?? (method === 'GET' ? OBJECT_BYTES_MAX : 0);
    const signal = AbortSignal.timeout(Math.ceil(timeoutMs + (bytes / SLOW_BYTES) * 1_000));
    const answer = await received(request, signal, timeoutMs);
    if (answer.status < 300) return answer;
    return this.#refused(answer);
  }

  /** @returns what says that there is no such object. */
  #refused(answer: Answer): Answer {
    const { status, bytes } = answer;
    const [code = ''] = textsOf(Buffer.from(bytes).toString('utf8'), 'Code');
    const said = `${status}${code === '' ? '' : ` ${code}`}`;
    if (code === 'NoSuchBucket')
      throw new PlatformError(
        'blobs_missing',
        `there is no ${this.name}; make it, or name another with --blobs`,
      );
    if (status === 404) return answer;
    if (status === 507 || /StorageFull|QuotaExceeded/.test(code))
      throw new PlatformError('storage_full', `${this.name} is full (${said})`, { retryAfterMs: 60_000 });
    if (status >= 500 || status === 429 || status === 408) throw new Transient(said);
    if (
      status === 401 ||
      status === 403 ||
      /^Authorization|^InvalidAccessKey|Redirect/.test(code) ||
      status < 400
    )
      throw new PlatformError(
        'blobs_refused',
        `${this.name} refuses (${said}): see that the access key may read, write, delete and list there, that its secret is right, and that endpoint and region are the bucket's`,
        { retryAfterMs: RETRY_AFTER_MS },
      );
    throw new PlatformError('internal', `${this.name} answered ${said}`);
  }
}

/** @throws {Transient} */
async function received(request: Request, signal: AbortSignal, timeoutMs: number): Promise<Answer> {
  try {
    const late = new AbortController();
    // A body may take long; who has not even begun to answer a request without one is gone.
    const timer = setTimeout(() => late.abort(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    const response = await fetch(request, {
      redirect: 'manual',
      signal: request.body === null ? AbortSignal.any([signal, late.signal]) : signal,
    }).finally(() => clearTimeout(timer));
    return { status: response.status, headers: response.headers, bytes: await whole(response) };
  } catch (thrown) {
    if (thrown instanceof PlatformError) throw thrown;
    throw new Transient(transportReason(thrown));
  }
}

async function whole(response: Response): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of response.body ?? []) {
    bytes += part.byteLength;
    if (bytes > OBJECT_BYTES_MAX)
      throw new PlatformError('blob_corrupt', `an object has more than ${OBJECT_BYTES_MAX} bytes`);
    parts.push(part);
  }
  return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
}

const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

/** Of the elements of this name. What the S3 API answers has no attributes or elements within them. */
function textsOf(xml: string, name: string): readonly string[] {
  return [...xml.matchAll(new RegExp(`<${name}>([^<]*)</${name}>`, 'g'))].map(([, text = '']) =>
    text.replaceAll(/&(?:#x([0-9a-fA-F]+)|#(\d+)|(\w+));/g, (entity, hex, decimal, word) => {
      if (typeof hex === 'string') return String.fromCodePoint(Number.parseInt(hex, 16));
      if (typeof decimal === 'string') return String.fromCodePoint(Number(decimal));
      return ENTITIES[word as string] ?? entity;
    }),
  );
}
