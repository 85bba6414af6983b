/** What functions used. */
import { z } from 'zod';
import { listOf, USAGE_GRANULARITIES, usageViewSchema } from '#shared/contracts/api.ts';
import { functionNameSchema } from '#shared/ids.ts';
import { PlatformError } from '#shared/errors.ts';
import { listUsage } from '../db/usage.ts';
import { inAccount, pageQuery, route, type Route } from './operation.ts';

const DEFAULT_RANGE_MS = 30 * 24 * 3_600_000;

export const usage: readonly Route[] = [
  route(
    {
      id: 'listUsage',
      method: 'get',
      path: '/v1/accounts/{account}/usage',
      summary:
        'What functions used, by hour, day (UTC) or in total. Default: the last 30 days. Kept for 400 days, ' +
        'also of functions that were deleted.',
      access: 'read',
      params: inAccount,
      query: pageQuery.extend({
        from: z.iso.datetime({ offset: true }).optional(),
        to: z.iso.datetime({ offset: true }).optional(),
        function: functionNameSchema.optional(),
        granularity: z.enum(USAGE_GRANULARITIES).default('day'),
      }),
      replies: { 200: listOf(usageViewSchema) },
    },
    async ({ clock, db }, { params, query }) => {
      const toMs = query.to === undefined ? clock.wallMs() : Date.parse(query.to);
      const fromMs = query.from === undefined ? toMs - DEFAULT_RANGE_MS : Date.parse(query.from);
      if (fromMs > toMs || fromMs < 0)
        throw new PlatformError('bad_request', 'the range is empty', {
          publicDetail: '`from` must lie before `to`.',
        });
      const body = await db.read((orm) =>
        listUsage(orm, params.account, { ...query, fromMs, toMs, functionName: query.function }),
      );
      return { status: 200, body };
    },
  ),
];
