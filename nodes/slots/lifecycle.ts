/**
 * Life of a slot, from spawn to end. Pure: the driver (slot.ts) tells what happened and acts on the
 * state.
 *
 * spawning → waiting → starting → running → draining → ended, and `killing` from anywhere alive. An
 * event that does not fit the state changes nothing: signals, timers and pipes of one process arrive in
 * any order.
 */
import type { ExitReason } from '#shared/contracts/nodes.ts';

export type SlotState =
  | { readonly kind: 'spawning' }
  | { readonly kind: 'waiting' }
  | { readonly kind: 'starting' }
  | { readonly kind: 'running' }
  | { readonly kind: 'draining' }
  | { readonly kind: 'killing'; readonly reason: ExitReason }
  | { readonly kind: 'ended'; readonly reason: ExitReason };

export type SlotEvent =
  | { readonly kind: 'spawned' }
  | { readonly kind: 'assigned' }
  | { readonly kind: 'listening' }
  | { readonly kind: 'stop_requested' }
  | { readonly kind: 'kill_requested'; readonly reason: ExitReason }
  | {
      readonly kind: 'exited';
      readonly outOfMemory: boolean;
      /** By itself and with success, as after it was asked to end. */
      readonly inOrder: boolean;
      /** By a signal of somebody else, where the state does not say that it was ours. */
      readonly fromOutside: boolean;
    };

export function nextSlotState(state: SlotState, event: SlotEvent): SlotState {
  if (state.kind === 'ended') return state;
  switch (event.kind) {
    case 'spawned':
      return state.kind === 'spawning' ? { kind: 'waiting' } : state;
    case 'assigned':
      return state.kind === 'spawning' || state.kind === 'waiting' ? { kind: 'starting' } : state;
    case 'listening':
      return state.kind === 'starting' ? { kind: 'running' } : state;
    case 'stop_requested':
      return state.kind === 'killing' ? state : { kind: 'draining' };
    case 'kill_requested':
      // The first reason is the cause; what follows are consequences.
      return state.kind === 'killing' ? state : { kind: 'killing', reason: event.reason };
    case 'exited':
      return { kind: 'ended', reason: exitReason(state, event) };
  }
}

function exitReason(
  state: Exclude<SlotState, { kind: 'ended' }>,
  { outOfMemory, inOrder, fromOutside }: Extract<SlotEvent, { kind: 'exited' }>,
): ExitReason {
  const fault: ExitReason = outOfMemory ? 'memory_exceeded' : 'crashed';
  switch (state.kind) {
    case 'killing':
      return state.reason;
    case 'draining':
      return inOrder ? 'stopped' : fault;
    case 'starting':
      if (outOfMemory) return 'memory_exceeded';
      // The code is not to blame, and was not seen to start.
      return fromOutside ? 'evicted' : 'startup_failed';
    case 'spawning':
    case 'waiting':
    case 'running':
      return fault;
  }
}
