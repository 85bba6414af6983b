interface Env {
  readonly LINKS: KVNamespace;
}

interface Link {
  readonly createdAt: string;
}

const DAY_SECONDS = 86_400;

async function put(request: Request, env: Env, name: string): Promise<Response> {
  const target = await request.text();
  if (!URL.canParse(target)) return new Response('The body is a URL.\n', { status: 422 });
  const days = Number(new URL(request.url).searchParams.get('days') ?? 0);
  await env.LINKS.put(name, target, {
    metadata: { createdAt: new Date().toISOString() } satisfies Link,
    ...(days > 0 ? { expirationTtl: Math.ceil(days * DAY_SECONDS) } : {}),
  });
  return new Response(`/${name} leads to ${target}\n`, { status: 201 });
}

async function list(env: Env): Promise<Response> {
  const { keys } = await env.LINKS.list<Link>({ limit: 100 });
  return Response.json(keys.map(({ name, metadata }) => ({ name, createdAt: metadata?.createdAt })));
}

async function follow(env: Env, name: string): Promise<Response> {
  const target = await env.LINKS.get(name);
  return target === null ? new Response('No such link.\n', { status: 404 }) : Response.redirect(target, 302);
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const name = decodeURIComponent(new URL(request.url).pathname.slice(1));
    if (request.method === 'GET') return name === '' ? list(env) : follow(env, name);
    if (name === '') return new Response('Name the link in the path.\n', { status: 400 });
    if (request.method === 'PUT') return put(request, env, name);
    if (request.method !== 'DELETE') return new Response(null, { status: 405 });
    await env.LINKS.delete(name);
    return new Response(null, { status: 204 });
  },
};
