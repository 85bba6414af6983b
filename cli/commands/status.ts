/** `isoplane status`: what runs, and who has applied which revision. */
import colors from 'picocolors';
import { platformStatusSchema, type PlatformStatus } from '#shared/contracts/api.ts';
import type { Context } from '../context.ts';
import { bytesText, plain } from '../output.ts';
import { table, terminalWidth, wrap } from '../table.ts';
import { heldLines } from './held.ts';

export async function status(context: Context): Promise<void> {
  const { api, connection } = await context.platform();
  const state = await api.call('/v1/status', platformStatusSchema);
  context.output.result({ ...connection.platform, dataDir: connection.dataDir, ...state }, () =>
    [
      ...platformLines(connection.platform, state.revision),
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
          wrapped(`${consumer} cannot read ${kind} ${key} and goes without it: ${reason}`, colors.red),
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

type Place = { readonly gatewayUrl: string; readonly controlUrl: string };

function platformLines({ gatewayUrl, controlUrl }: Place, revision: number): readonly string[] {
  const parts = [
    ['gateway', gatewayUrl],
    ['control', controlUrl],
    ['revision', String(revision)],
  ] as const;
  const width = parts.map((part) => part.join(' ')).join('  ').length;
  const shown = parts.map(([name, value]) => `${name} ${name === 'revision' ? value : colors.cyan(value)}`);
  return width <= terminalWidth() ? [shown.join('  ')] : shown;
}

function wrapped(text: string, paint: (text: string) => string): string {
  return wrap(plain(text), terminalWidth()).map(paint).join('\n');
}

/** Nothing while there is room. */
function storageLines({ storage, nodes }: PlatformStatus): readonly string[] {
  const lost = nodes.reduce((sum, node) => sum + (node.logEntriesLost ?? 0), 0);
  return [
    ...(storage?.full === true
      ? [
          '',
          wrapped(
            `storage_full: the disk of the data folder has ${bytesText(storage.freeBytes)} left. Functions are served; deploys, KV puts and logs are not kept until there is room.`,
            colors.red,
          ),
        ]
      : []),
    ...nodes.flatMap(({ nodeId, codeMissing = 0 }) =>
      codeMissing > 0 ? [colors.yellow(`${nodeId} lacks the code of ${codeMissing} versions`)] : [],
    ),
    ...(lost > 0 ? [colors.yellow(`${lost} log entries could not be written`)] : []),
  ];
}
