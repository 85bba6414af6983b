interface Env {
  readonly ASSETS: Fetcher;
}

/** Counts the words of a page: files are at hand without leaving the platform. */
async function words(request: Request, env: Env): Promise<Response> {
  const page = await env.ASSETS.fetch(new URL('/about', request.url));
  if (!page.ok) return new Response('There is no such page.\n', { status: 404 });
  const text = (await page.text()).replaceAll(/<[^>]*>/g, ' ');
  return Response.json({
    words: text.split(/\s+/).filter((word) => word !== '').length,
    reader: request.headers.get('isoplane-principal'),
  });
}

export default {
  fetch(request: Request, env: Env): Response | Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname === '/api/words') return words(request, env);
    return new Response('There is no such call.\n', { status: 404 });
  },
};
