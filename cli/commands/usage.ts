/** `isoplane usage`: what the account's functions used. */
import { z } from 'zod';
import { USAGE_GRANULARITIES, usageViewSchema, type UsageView } from '#shared/contracts/api.ts';
import { functionNameSchema } from '#shared/ids.ts';
import type { Context } from '../context.ts';
import { bytesText } from '../output.ts';
import { tableWithSpareColumns } from '../table.ts';
import { argument, usage as usageError } from './arguments.ts';

const optionsSchema = z.object({
  function: z.string().optional(),
  from: z.string().optional(),
  to: z.string().optional(),
  by: z.enum(USAGE_GRANULARITIES).default('total'),
});

const MB_MS_PER_GB_S = 1_000_000;
/** What was sent, which a narrow terminal has no room for. */
const SPARE = 3;

/** A day or an instant, as RFC 3339 without or with its time. */
function instantOf(option: string, text: string): string {
  const ms = Date.parse(text);
  if (Number.isNaN(ms))
    throw usageError(`--${option}: give a day (2026-11-25) or an instant (2026-11-25T10:00:00Z).`);
  return new Date(ms).toISOString();
}

export async function usage(
  context: Context,
  _args: readonly string[],
  given: Record<string, unknown>,
): Promise<void> {
  const options = optionsSchema.parse(given);
  const search = new URLSearchParams({ granularity: options.by, limit: '200' });
  if (options.function !== undefined)
    search.set('function', argument('function', options.function, functionNameSchema));
  if (options.from !== undefined) search.set('from', instantOf('from', options.from));
  if (options.to !== undefined) search.set('to', instantOf('to', options.to));
  const { api } = await context.platform();
  const items = await api.list(api.path(`/usage?${search.toString()}`), usageViewSchema);
  context.output.result(items, () =>
    tableWithSpareColumns(
      ['FUNCTION', 'SINCE', 'REQUESTS', 'ERRORS', 'CPU-S', 'GB-S', 'IN', 'OUT', 'EGRESS'],
      items.map(rowOf),
      SPARE,
    ),
  );
}

function rowOf(item: UsageView): string[] {
  return [
    item.function,
    item.start.slice(0, 16).replace('T', ' '),
    String(item.requests),
    String(item.errors),
    (item.cpuMs / 1_000).toFixed(2),
    (item.memoryMbMs / MB_MS_PER_GB_S).toFixed(2),
    bytesText(item.requestBytes),
    bytesText(item.responseBytes),
    `${item.egressRequests} (${bytesText(item.egressBytes)})`,
  ];
}
