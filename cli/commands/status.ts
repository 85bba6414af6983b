/** `isoplane status`: what runs, and who has applied which revision. */
import colors from 'picocolors';
import { platformStatusSchema, type PlatformStatus } from '#shared/contracts/api.ts';
import type { Context } from '../context.ts';
import { bytesText } from '../output.ts';
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
      ...storageLines(state),
      ...heldLines(state.held),
    ].join('\n'),
  );
}

/** Nothing while there is room. */
function storageLines({ storage, nodes }: PlatformStatus): readonly string[] {
  const lost = nodes.reduce((sum, node) => sum + (node.logEntriesLost ?? 0), 0);
  return [
    ...(storage?.full === true
      ? [
          '',
          colors.red(
            `storage_full: the disk of the data folder has ${bytesText(storage.freeBytes)} left. Functions are served; deploys, KV puts and logs are not kept until there is room.`,
          ),
        ]
      : []),
    ...nodes.flatMap(({ nodeId, codeMissing = 0 }) =>
      codeMissing > 0 ? [colors.yellow(`${nodeId} lacks the code of ${codeMissing} versions`)] : [],
    ),
    ...(lost > 0 ? [colors.yellow(`${lost} log entries could not be written`)] : []),
  ];
}
