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
export default {
  async fetch(request, env, ctx) {
    if (request.method !== 'POST') return new Response(null, { status: 405, headers: { allow: 'POST' } });
    const text = await request.text();
    const answer = await handler(text === '' ? undefined : JSON.parse(text), {
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
    if (answer instanceof Response) return answer;
    return answer === undefined ? new Response(null, { status: 204 }) : Response.json(answer);
  },
};
`;
}
