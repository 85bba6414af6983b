import type PricesEntrypoint from '../../prices/src/index.ts';
import type { Admin } from '../../prices/src/index.ts';

interface Env {
  readonly PRICES: Service<typeof PricesEntrypoint>;
  readonly PRICES_ADMIN: Service<typeof Admin>;
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === '/prices') return env.PRICES.fetch('http://prices/');
    if (pathname === '/raise') return Response.json(await env.PRICES_ADMIN.raise('tea', 1));
    // `using` lets go of the basket when the block ends.
    using basket = await env.PRICES.basket();
    let total = 0;
    try {
      for (const item of searchParams.get('items')?.split(',') ?? []) total = await basket.add(item);
    } catch (error) {
      return new Response(`${error instanceof Error ? error.message : 'failed'}\n`, { status: 404 });
    }
    return Response.json({ total });
  },
};
