/**
 * The metrics of the other planes, asked at their private sockets when somebody wants to know.
 *
 * What they answer is held to the table of metrics, so that a plane that was taken over says nothing of tenants here,
 * and nothing without end.
 */
import type { Address } from '#shared/contracts/address.ts';
import { samplesSchema, type Samples } from '#shared/metrics/samples.ts';
import type { Layout } from '#shared/runtime/layout.node.ts';
import { peerOf } from '#shared/runtime/transport.node.ts';

export interface PlanesPort {
  /** @param gateways - ids of those that follow the feed. One that does not answer has `isoplane_up` 0 alone. */
  samples(gateways: readonly string[]): Promise<readonly Samples[]>;
}

const ANSWER_MS_MAX = 2_000;
const ANSWER_BYTES_MAX = 1_048_576;
/** Ids come from whoever follows the feed, and become paths. */
const GATEWAY_ID = /^[A-Za-z0-9_-]{1,64}$/;
/** As many as `isoplane up --gateways` starts. */
const GATEWAYS_MAX = 64;

export function planesAt(sockets: Layout['sockets'], nodeIds: readonly string[]): PlanesPort {
  return {
    samples: (gateways) =>
      Promise.all([
        samplesOf('scheduler', 'scheduler', sockets.scheduler),
        ...gateways
          .filter((id) => GATEWAY_ID.test(id))
          .slice(0, GATEWAYS_MAX)
          .map((id) => samplesOf('gateway', id, sockets.gateway(id))),
        ...nodeIds.map((id) => samplesOf('node', id, sockets.node(id))),
      ]),
  };
}

async function samplesOf(plane: string, id: string, address: Address): Promise<Samples> {
  const peer = peerOf(address, { connections: 1 });
  try {
    const bytes = await peer.bytes('/v1/metrics', ANSWER_BYTES_MAX, {
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    });
    const { samples } = samplesSchema.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
    return { plane, id, samples: [{ name: 'isoplane_up', value: 1 }, ...samples] };
  } catch {
    return { plane, id, samples: [{ name: 'isoplane_up', value: 0 }] };
  } finally {
    await peer.close();
  }
}
