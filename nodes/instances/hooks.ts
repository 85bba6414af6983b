/** Lifecycle hooks: events of an instance (events.ts), and what their outcomes mean in words. */
import type { Hooks } from '#shared/contracts/config.ts';
import { invoke, type EventCall } from './events.ts';

export type HookOutcome =
  | { readonly kind: 'done' }
  | { readonly kind: 'failed'; readonly message: string; readonly stack: string | undefined }
  /** The process is gone or about to be, and its end tells why. */
  | { readonly kind: 'lost'; readonly message: string };

export interface HookCall extends Omit<EventCall, 'event'> {
  readonly name: keyof Hooks;
}

/** Resolves within `timeoutMs`. Never rejects. */
export async function callHook({ name, ...call }: HookCall): Promise<HookOutcome> {
  const outcome = await invoke({ ...call, event: { kind: 'hook', name } });
  const failed = (message: string, stack?: string): HookOutcome => ({ kind: 'failed', message, stack });
  switch (outcome.kind) {
    case 'done':
      return outcome;
    case 'failed':
      return failed(`\`${name}\` threw ${outcome.message}`, outcome.stack);
    case 'unreadable':
      return failed(`\`${name}\` failed`);
    case 'late':
      return failed(`\`${name}\` did not finish within ${call.timeoutMs} ms`);
    case 'lost':
      return { kind: 'lost', message: `the instance ended during \`${name}\`` };
  }
}
