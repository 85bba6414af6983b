/**
 * Sessions of the instances that call. To a target with isolation `session` each calling instance is one
 * session, for its whole life: what calls through different instances never shares an instance of the target.
 */
import type { Scaling } from '#shared/contracts/config.ts';

export class CallerSessions {
  readonly #ids = new Map<string, string>();
  readonly #newId: () => string;

  /** @param newId - cannot be guessed: clients of gateways may name any session. */
  constructor(newId: () => string) {
    this.#newId = newId;
  }

  of(instanceId: string, { isolation }: Scaling): string | undefined {
    if (isolation !== 'session') return undefined;
    let id = this.#ids.get(instanceId);
    if (id === undefined) {
      id = this.#newId();
      this.#ids.set(instanceId, id);
    }
    return id;
  }

  /** The calling instance has ended. */
  ended(instanceId: string): void {
    this.#ids.delete(instanceId);
  }
}
