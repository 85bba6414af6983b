/** A function that reaches out in every way there is: it does the job that the body names and tells what came of it. */
export const FETCHER = `
import { connect } from 'cloudflare:sockets';
const jobs = {
  async forms({ url }) {
    const stream = new ReadableStream({ start(controller) {
      controller.enqueue(new TextEncoder().encode('str')); controller.enqueue(new TextEncoder().encode('eam')); controller.close();
    } });
    const form = new FormData();
    form.set('a', '1');
    const aborted = AbortSignal.abort(new Error('mine'));
    const say = async (promise) => { try { const text = await (await promise).text(); return text; } catch (error) { return error.message; } };
    const free = globalThis.fetch;
    const request = new Request(url, { method: 'PUT', body: 'from a Request', headers: { 'x-a': '1' } });
    return {
      request: await say(fetch(request)),
      used: request.bodyUsed,
      override: await say(fetch(new Request(url, { method: 'PUT', body: 'first' }), { body: 'second' })),
      stream: await say(fetch(url, { method: 'POST', body: stream })),
      form: (await say(fetch(url, { method: 'POST', body: form }))).includes('form-data; name="a"'),
      url: await say(fetch(new URL(url), { method: 'POST', body: new Blob(['blob']) })),
      free: await say(free(url, { method: 'POST', body: 'free' })),
      called: await say(fetch.call(undefined, url, { method: 'POST', body: 'called' })),
      aborted: await say(fetch(url, { signal: aborted })),
      invalid: await say(fetch('nonsense')),
      polyfilled: await (async () => {
        const native = globalThis.Request;
        globalThis.Request = class { constructor() { throw new Error('a polyfill'); } };
        try { return await say(fetch(url, { method: 'POST', body: 'polyfilled' })); } finally { globalThis.Request = native; }
      })(),
      name: fetch.name,
      length: fetch.length,
    };
  },
  async nodeHttp({ url, count }) {
    const http = await import('node:http');
    const results = [];
    for (let i = 0; i < count; i += 1)
      results.push(await new Promise((resolve) => {
        http.get(url, { headers: { 'isoplane-request-id': 'forged' + i } }, (answer) => {
          answer.resume();
          resolve(answer.statusCode);
        }).on('error', (error) => resolve(error.message));
      }));
    return results;
  },
  async fetch({ url, init }) {
    const response = await fetch(url, init);
    return { status: response.status, headers: Object.fromEntries(response.headers), text: await response.text() };
  },
  async many({ url, count }) {
    const results = await Promise.allSettled(Array.from({ length: count }, async () => (await fetch(url)).text()));
    return results.map((result) => result.status === 'fulfilled' ? result.value : result.reason.message);
  },
  async serial({ url, count }) {
    const results = [];
    for (let i = 0; i < count; i += 1) {
      try { results.push(await (await fetch(url)).text()); } catch (error) { results.push(error.message); }
    }
    return results;
  },
  async connect({ address, send }) {
    const socket = connect(address, { allowHalfOpen: true });
    await socket.opened;
    const writer = socket.writable.getWriter();
    await writer.write(new TextEncoder().encode(send));
    await writer.close();
    return new Response(socket.readable).text();
  },
  async webSocket({ url, viaFetch }) {
    let socket;
    if (viaFetch) {
      const response = await fetch(url, { headers: { upgrade: 'websocket' } });
      socket = response.webSocket;
      if (!socket) return { status: response.status, text: await response.text() };
      socket.accept();
    } else socket = new WebSocket(url);
    return new Promise((resolve, reject) => {
      const heard = [];
      socket.addEventListener('message', ({ data }) => {
        heard.push(data);
        if (heard.length === 1) socket.send('ping');
        else { socket.close(); resolve(heard); }
      });
      socket.addEventListener('error', (event) => reject(new Error('socket failed: ' + (event.message ?? ''))));
      socket.addEventListener('close', () => reject(new Error('closed after ' + heard.length)));
    });
  },
};
export default { async fetch(request) {
  const { job, ...options } = await request.json();
  try { return Response.json({ value: await jobs[job](options) }); }
  catch (error) { return Response.json({ error: String(error) }); }
} };`;
