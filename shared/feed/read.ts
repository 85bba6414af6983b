/**
 * Reads feed lines so that one item which this release cannot apply never stops the others. Pure.
 *
 * An item that does not parse is skipped: what was known of it before stays, and the line says which and why,
 * so that the consumer can report it.
 */
import { z } from 'zod';
import {
  feedItemSchema,
  skippedItemSchema,
  type FeedItem,
  type FeedLine,
  type SkippedItem,
} from '../contracts/feed.ts';

const REASON_CHARACTERS_MAX = 200;

const rawLineSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('snapshot'),
    epoch: z.string(),
    revision: z.number().int(),
    items: z.array(z.unknown()),
    skipped: z.array(skippedItemSchema).optional(),
  }),
  z.object({
    type: z.literal('delta'),
    revision: z.number().int(),
    items: z.array(z.unknown()),
    skipped: z.array(skippedItemSchema).optional(),
  }),
  z.object({ type: z.literal('bookmark'), revision: z.number().int() }),
]);

/** A line of the feed; `skipped` names the items that could not be read, here or by who wrote the line. */
export const readLineSchema = rawLineSchema.transform((line): FeedLine => {
  if (line.type === 'bookmark') return line;
  const items: FeedItem[] = [];
  const skipped: SkippedItem[] = [...(line.skipped ?? [])];
  for (const raw of line.items) {
    const read = readItem(raw);
    if ('reason' in read) skipped.push(read);
    else items.push(read);
  }
  return { ...line, items, skipped };
});

function readItem(raw: unknown): FeedItem | SkippedItem {
  try {
    const parsed = feedItemSchema.safeParse(raw);
    if (parsed.success) return parsed.data;
    // Control says itself what it could not read (control/db/changes.ts).
    const { value } = (raw ?? {}) as { readonly value?: unknown };
    if (typeof value === 'string') return skippedOf(raw, value);
    const [issue] = parsed.error.issues;
    return skippedOf(raw, issue === undefined ? 'unreadable' : `${issue.path.join('.')}: ${issue.message}`);
  } catch (thrown) {
    // A value that is nested too deep exhausts the stack of the schema.
    return skippedOf(raw, thrown instanceof Error ? thrown.message : 'unreadable');
  }
}

function skippedOf(raw: unknown, reason: string): SkippedItem {
  const { kind, key } = (typeof raw === 'object' && raw !== null ? raw : {}) as Record<string, unknown>;
  return {
    kind: typeof kind === 'string' ? kind.slice(0, 50) : 'unknown',
    key: typeof key === 'string' ? key.slice(0, 300) : 'unknown',
    reason: reason.slice(0, REASON_CHARACTERS_MAX),
  };
}
