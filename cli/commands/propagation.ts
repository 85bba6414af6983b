/** Waits until every gateway and node has applied a change, which is when it is really served. */
import { propagationSchema, type Propagation } from '#shared/contracts/api.ts';
import type { ControlApi } from '../client/api.ts';
import type { Context } from '../context.ts';
import { EXIT } from '../failure.ts';
import { millisecondsText } from '../output.ts';

const WAIT_MS_MAX = 30_000;
/** One call waits at most this long at the server. */
const POLL_MS = 5_000;

/** Gives the last state seen; `complete` tells whether everything had it within the bound. */
export async function waitForPropagation(api: ControlApi, revision: number): Promise<Propagation> {
  const deadline = performance.now() + WAIT_MS_MAX;
  for (;;) {
    const state = await api.call(`/v1/propagation?revision=${revision}&waitMs=${POLL_MS}`, propagationSchema);
    if (state.complete || performance.now() >= deadline) return state;
  }
}

export function propagationText(state: Propagation): string {
  const share = `${state.gateways.applied}/${state.gateways.total} gateways, ${state.nodes.applied}/${state.nodes.total} nodes`;
  if (!state.complete) return `served by ${share} so far`;
  return `served by ${share}${state.elapsedMs === undefined ? '' : ` after ${millisecondsText(state.elapsedMs)}`}`;
}

/** The exit code of a change that was accepted, and is not served everywhere yet. */
export function notServed(context: Context, state: Propagation): number {
  context.output.warn(
    `accepted, but ${propagationText(state)}; the rest follows by itself when it is back (\`isoplane status\` shows who is behind)`,
  );
  return EXIT.notServed;
}
