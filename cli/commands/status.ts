/** `isoplane status`: what runs, and who has applied which revision. */
import colors from 'picocolors';
import { platformStatusSchema } from '#shared/contracts/api.ts';
import type { Context } from '../context.ts';
import { table } from '../table.ts';
import { heldLines } from './held.ts';

export async function status(context: Context): Promise<void> {
  const { api, connection } = await context.platform();
  const state = await api.call('/v1/status', platformStatusSchema);
  context.output.result({ ...connection.platform, dataDir: connection.dataDir, ...state }, () =>
    [
      `gateway ${colors.cyan(connection.platform.gatewayUrl)}  control ${colors.cyan(connection.platform.controlUrl)}  revision ${state.revision}`,
      '',
      table(
        ['CONSUMER', 'ROLE', 'REVISION', 'CONNECTED'],
        state.consumers.map((row) => [
          row.consumer,
          row.role,
          String(row.revision),
          row.connected ? 'yes' : 'no',
        ]),
      ),
      ...state.consumers.flatMap(({ consumer, skipped }) =>
        skipped.map(({ kind, key, reason }) =>
          colors.red(`${consumer} cannot read ${kind} ${key} and goes without it: ${reason}`),
        ),
      ),
      '',
      table(
        ['NODE', 'SANDBOX', 'INSTANCES', 'FREE SLOTS', 'CAPACITY'],
        state.nodes.map((node) => [
          node.nodeId,
          node.sandbox.level === 'full'
            ? 'full'
            : `${node.sandbox.level} (${node.sandbox.missing.join(', ')})`,
          String(node.instances),
          String(node.freeSlots),
          String(node.capacity),
        ]),
      ),
      ...heldLines(state.held),
    ].join('\n'),
  );
}
