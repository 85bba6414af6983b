/** Calls the handler of an event function as the platform's entry module does, which miniflare cannot hold. */
export function eventEntry(main: string, functionName: string): string {
  return `import * as user from ${JSON.stringify(`./${main}`)};
export * from ${JSON.stringify(`./${main}`)};
const handler = user.handler ?? user.default?.handler;
const claimsOf = (text) => {
  if (text === null) return undefined;
  const bytes = Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (each) => each.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(bytes));
};
const refuse = (status, code, title, headers) =>
  Response.json({ type: 'urn:isoplane:error:' + code, title, status, code },
    { status, headers: { 'content-type': 'application/problem+json', ...headers } });
const toResponse = (result) => {
  if (result instanceof Response) return result;
  if (result === undefined) return new Response(null, { status: 204 });
  if (typeof result === 'string')
    return new Response(result, { headers: { 'content-type': 'text/plain; charset=utf-8' } });
  if (result instanceof ArrayBuffer || result instanceof ReadableStream || ArrayBuffer.isView(result))
    return new Response(result, { headers: { 'content-type': 'application/octet-stream' } });
  const json = JSON.stringify(result);
  if (json === undefined) throw new TypeError('The handler returned a value that JSON cannot express.');
  return new Response(json, { headers: { 'content-type': 'application/json' } });
};
export default {
  async fetch(request, env, ctx) {
    if (request.method !== 'POST')
      return refuse(405, 'method_not_allowed', 'An event function is called with POST and a JSON body.', { allow: 'POST' });
    const text = await request.text();
    let event;
    try {
      event = text.trim() === '' ? undefined : JSON.parse(text);
    } catch {
      return refuse(400, 'bad_request', 'An event function takes a JSON body.');
    }
    const answer = await handler(event, {
      functionName: ${JSON.stringify(functionName)},
      functionVersion: 0,
      requestId: '',
      env,
      deadlineMs: undefined,
      getRemainingTimeMs: () => Infinity,
      principal: request.headers.get('isoplane-principal') ?? undefined,
      claims: claimsOf(request.headers.get('isoplane-claims')),
      waitUntil: (promise) => ctx.waitUntil(promise),
    });
    return toResponse(answer);
  },
};
`;
}
