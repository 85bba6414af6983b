/** Where something listens that others on the platform call: an instance, an agent, a plane. */
import { z } from 'zod';

/** A union of one. What opens, reads or compares an address is shared/runtime/transport.node.ts alone. */
export const addressSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('unix'), path: z.string() }),
]);

export type Address = z.infer<typeof addressSchema>;

export function addressAt(path: string): Address {
  return { kind: 'unix', path };
}
