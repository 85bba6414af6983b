/** Configuration of a node agent, read once from the environment. */
import { z } from 'zod';

const MIB = 1_048_576;
/** Private memory of an idle instance, measured (7.6 MB), with room for the agent's share. */
const IDLE_INSTANCE_BYTES = 10 * MIB;
const CAPACITY_MAX = 2_000;

export function defaultCapacity(totalMemoryBytes: number): number {
  // Half of the memory: instances that work need more than idle ones.
  return Math.max(1, Math.min(CAPACITY_MAX, Math.floor(totalMemoryBytes / 2 / IDLE_INSTANCE_BYTES)));
}

export const nodeEnvironmentSchema = z.object({
  ISOPLANE_DATA_DIR: z.string().min(1),
  ISOPLANE_NODE_ID: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]{0,31}$/, 'use 1 to 32 of a-z, 0-9 and hyphens: it becomes a file name')
    .default('node-1'),
  /** Slots that wait ready. Each costs about 5 MB; 0 starts every slot on demand (about 15 ms more). */
  ISOPLANE_SLOTS: z.coerce.number().int().min(0).max(100).default(3),
  /** Instances this node may hold. Default: by memory, at most 2,000. */
  ISOPLANE_CAPACITY: z.coerce.number().int().min(1).max(10_000).optional(),
  /** `required` refuses to start without the full sandbox; `auto` says loudly what is missing; `off` runs bare. */
  ISOPLANE_SANDBOX: z.enum(['auto', 'required', 'off']).default('auto'),
  /** Bytes of code kept on disk. */
  ISOPLANE_CODE_CACHE_BYTES: z.coerce
    .number()
    .int()
    .min(MIB)
    .default(2_048 * MIB),
  /** libSQL server for KV, for example https://kv.internal:8080. Default: a file under the data folder. */
  ISOPLANE_KV_URL: z.string().min(1).optional(),
  ISOPLANE_KV_AUTH_TOKEN: z.string().min(1).optional(),
  /** Size that the KV file may reach, in bytes; then puts are answered kv_full. */
  ISOPLANE_KV_BYTES_MAX: z.coerce
    .number()
    .int()
    .min(MIB)
    .default(16_384 * MIB),
});
