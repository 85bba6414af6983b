/** A webhook receiver: only bodies that carry the right HMAC are kept. */
import { WorkerEntrypoint } from 'cloudflare:workers';

export interface Env {
  readonly WEBHOOK_KEY: string;
  readonly EVENTS: KVNamespace;
}

export default class Webhook extends WorkerEntrypoint<Env> {
  override async fetch(request: Request): Promise<Response> {
    if (request.method !== 'POST') return new Response('POST only\n', { status: 405 });
    const body = await request.arrayBuffer();
    const given = fromHex(request.headers.get('x-signature-256')?.replace(/^sha256=/, '') ?? '');
    const key = await crypto.subtle.importKey(
      'raw',
      new TextEncoder().encode(this.env.WEBHOOK_KEY),
      { name: 'HMAC', hash: 'SHA-256' },
      false,
      ['verify'],
    );
    if (!(await crypto.subtle.verify('HMAC', key, given, body)))
      return new Response('wrong signature\n', { status: 401 });
    await this.env.EVENTS.put('newest', body);
    return new Response(null, { status: 204 });
  }

  /** For other functions: the newest event, if there was one. */
  newest(): Promise<unknown> {
    return this.env.EVENTS.get('newest', 'json');
  }
}

function fromHex(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text.match(/[0-9a-f]{2}/g) ?? [], (pair) => Number.parseInt(pair, 16));
}
