/** Who did something, by name. */
import { keyViewSchema } from '#shared/contracts/access.ts';
import type { ControlApi } from '../client/api.ts';

/** Names of keys by id, for lists of who did something; empty for those who may not see keys. */
export async function keyNames(api: ControlApi): Promise<(id: string) => string> {
  const keys = await api.list(api.path('/keys'), keyViewSchema).catch(() => []);
  const names = new Map(keys.map((key) => [key.id, key.name]));
  return (id) => names.get(id) ?? (id.length > 12 ? `${id.slice(0, 11)}…` : id);
}
