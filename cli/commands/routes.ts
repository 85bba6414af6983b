/** `isoplane routes`: own host names and paths for functions. */
import { createRouteSchema, routeViewSchema } from '#shared/contracts/api.ts';
import type { Context } from '../context.ts';
import { CliError } from '../failure.ts';
import { didYouMean } from '../guess.ts';
import { tableWithSpare } from '../table.ts';
import { argument } from './arguments.ts';

type Args = readonly string[];
type Options = Record<string, unknown>;

export async function listRoutes(context: Context): Promise<void> {
  const { api } = await context.platform();
  const items = await api.list(api.path('/routes'), routeViewSchema);
  context.output.result(items, () =>
    tableWithSpare(
      ['ROUTE', 'FUNCTION', 'ALIAS', 'ID'],
      items.map((item) => [`${item.host}${item.path}`, item.function, item.alias, item.id]),
    ),
  );
}

export async function addRoute(context: Context, args: Args, options: Options): Promise<void> {
  const body = argument(
    'route',
    { host: args[0], path: args[1], function: args[2], alias: options['alias'] },
    createRouteSchema,
  );
  const { api } = await context.platform();
  const route = await api.call(api.path('/routes'), routeViewSchema, { method: 'POST', json: body });
  context.output.result(
    route,
    () => `${route.host}${route.path} → ${route.function}@${route.alias} (${route.id})`,
  );
}

const ID = /^route-[0-9a-z]{1,40}$/;

/** By id, or as it stands in the list: HOST/PATH. */
export async function removeRoute(context: Context, args: Args): Promise<void> {
  const given = args[0] ?? '';
  const { api } = await context.platform();
  let id = given;
  if (!ID.test(given)) {
    const routes = await api.list(api.path('/routes'), routeViewSchema);
    const found = routes.find((route) => `${route.host}${route.path}` === given);
    if (found === undefined) {
      const known = routes.map((route) => `${route.host}${route.path}`);
      throw new CliError('route_not_found', `There is no route ${given}.${didYouMean(given, known)}`, {
        advice: '`isoplane routes list` shows what exists.',
      });
    }
    ({ id } = found);
  }
  await api.send(api.path(`/routes/${id}`), { method: 'DELETE' });
  context.output.result({ removed: id }, () => `removed ${given}`);
}
