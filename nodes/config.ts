/** Configuration of a node agent, read once from the environment. */
import { z } from 'zod';
import { libsqlUrlSchema } from '#shared/libsql/url.ts';
import { parseExemption } from './attachments/egress/addresses.ts';
import { SLOT_BYTES } from './slots/demand.ts';

const MIB = 1_048_576;
/** What one idle instance takes from the machine: 8 to 9 MB of its own, the rest is the kernel's. Measured. */
const IDLE_INSTANCE_BYTES = 10 * MIB;
const CAPACITY_MAX = 2_000;
/**
 * Left for the planes and for instances that work: they need more than idle ones, so starts are refused
 * before memory is gone, whatever the capacity says.
 */
const RESERVE_SHARE = 1 / 16;
const RESERVE_BYTES_MIN = 128 * MIB;

export const defaultReserveBytes = (totalMemoryBytes: number): number =>
  Math.max(RESERVE_BYTES_MIN, Math.floor(totalMemoryBytes * RESERVE_SHARE));

export function defaultCapacity(totalMemoryBytes: number): number {
  const room = totalMemoryBytes - 2 * defaultReserveBytes(totalMemoryBytes);
  return Math.max(1, Math.min(CAPACITY_MAX, Math.floor(room / IDLE_INSTANCE_BYTES)));
}

/** Part of the memory that slots may take while they wait; see SLOT_BYTES for what one takes. */
const SLOTS_SHARE = 1 / 64;
const SLOTS_MIN = 3;
const SLOTS_MAX = 48;

/**
 * Enough for a burst of new functions where there is memory for it: on 24 GB 47, so that 50 functions called
 * for the first time at once find a slot each (docs/adr/0008).
 */
export function defaultSlots(totalMemoryBytes: number): number {
  const affordable = Math.floor((totalMemoryBytes * SLOTS_SHARE) / SLOT_BYTES);
  return Math.max(SLOTS_MIN, Math.min(SLOTS_MAX, affordable));
}

const uidRange = z
  .string()
  .regex(/^[0-9]{1,10}-[0-9]{1,10}$/, 'write the first and the last id: 1900000000-1900009999')
  .transform((text) => {
    const [first = 0, last = 0] = text.split('-').map(Number);
    return { first, count: last - first + 1 };
  })
  .refine(({ first, count }) => first >= 1_000 && count >= 1 && first + count <= 2 ** 31, {
    message: 'user ids are 1000 to 2147483647, the first not above the last',
  });
const commaList = z
  .string()
  .default('')
  .transform((text) =>
    text
      .split(',')
      .map((entry) => entry.trim())
      .filter((entry) => entry !== ''),
  );

export const nodeEnvironmentSchema = z.object({
  ISOPLANE_DATA_DIR: z.string().min(1),
  ISOPLANE_NODE_ID: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]{0,31}$/, 'use 1 to 32 of a-z, 0-9 and hyphens: it becomes a file name')
    .default('node-1'),
  /**
   * Slots that wait ready when nothing happens. Each costs 5 to 9 MB; 0 starts every slot on demand (about
   * 15 ms more). Default: by memory, 3 to 48.
   */
  ISOPLANE_SLOTS: z.coerce.number().int().min(0).max(1_000).optional(),
  /** Slots that wait ready at most, after many starts. Default: twice ISOPLANE_SLOTS. */
  ISOPLANE_SLOTS_MAX: z.coerce.number().int().min(0).max(1_000).optional(),
  /** Of strict slots; they wait only while strict functions start. */
  ISOPLANE_STRICT_SLOTS_MAX: z.coerce.number().int().min(0).max(1_000).default(8),
  /**
   * User ids that strict instances run as, one each, when the agent is root: FIRST-LAST. No two agents of a
   * machine may share any. Default: 1900000000-1900009999.
   */
  ISOPLANE_STRICT_UIDS: uidRange.optional(),
  /** Instances this node may hold. Default: as many idle ones as fit into 7/8 of the memory, at most 2,000. */
  ISOPLANE_CAPACITY: z.coerce.number().int().min(1).max(10_000).optional(),
  /** Memory that starts must leave free, in bytes. Default: 1/16 of all, at least 128 MiB. */
  ISOPLANE_MEMORY_RESERVE_BYTES: z.coerce.number().int().min(0).optional(),
  /** `required` refuses to start without the full sandbox; `auto` says loudly what is missing; `off` runs bare. */
  ISOPLANE_SANDBOX: z.enum(['auto', 'required', 'off']).default('auto'),
  /** Bytes of code kept on disk. */
  ISOPLANE_CODE_CACHE_BYTES: z.coerce
    .number()
    .int()
    .min(MIB)
    .default(2_048 * MIB),
  /**
   * Addresses that functions may reach though they are not public, for development and tests: CIDR ranges or
   * `address:port`, with commas between.
   */
  ISOPLANE_EGRESS_ALLOW_PRIVATE: commaList.refine(
    (list) => list.every((entry) => parseExemption(entry) !== undefined),
    'use CIDR ranges or ADDRESS:PORT, with commas between',
  ),
  /** DNS servers for the names that functions reach: `address` or `address:port`. Default: this machine's. */
  ISOPLANE_EGRESS_DNS: commaList,
  /** libSQL server for KV, for example https://kv.internal:8080. Default: a file under the data folder. */
  ISOPLANE_KV_URL: libsqlUrlSchema.optional(),
  ISOPLANE_KV_AUTH_TOKEN: z.string().min(1).optional(),
  /** File that holds the token. */
  ISOPLANE_KV_AUTH_TOKEN_FILE: z.string().min(1).optional(),
  /** Size that the KV file may reach, in bytes; then puts are answered kv_full. */
  ISOPLANE_KV_BYTES_MAX: z.coerce
    .number()
    .int()
    .min(MIB)
    .default(16_384 * MIB),
});
