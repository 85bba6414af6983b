/**
 * `npm run bench`: every figure that docs/SPECIFICATION.md promises, measured in one run on one machine.
 * Nothing here fails because of a figure; the table says which goals were reached.
 */
import { writeFile } from 'node:fs/promises';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { benchAssets } from './assets.ts';
import { benchAttack, benchMemoryHog } from './attacks.ts';
import { benchBindings } from './bindings.ts';
import { benchBodyMemory } from './body-memory.ts';
import { benchCold } from './cold.ts';
import { benchDensity } from './density.ts';
import { benchLogs } from './logs.ts';
import { describeSandbox, machineFacts } from './machine.ts';
import { benchEgress } from './egress.ts';
import { benchFleet, benchMemory } from './memory.ts';
import { BenchPlatform } from './platform.ts';
import { benchPublish, benchRollback } from './propagation.ts';
import { renderTable, type Report, type Row } from './report.ts';
import { FULL, QUICK, type BenchScale } from './scale.ts';
import { benchShares } from './shares.ts';
import { benchWarm } from './warm.ts';

const PARTS: Readonly<Record<string, (scale: BenchScale) => Promise<Row[]>>> = {
  warm: benchWarm,
  cold: benchCold,
  publish: benchPublish,
  rollback: benchRollback,
  egress: benchEgress,
  memory: benchMemory,
  fleet: benchFleet,
  attack: benchAttack,
  'memory-hog': benchMemoryHog,
  logs: benchLogs,
  density: benchDensity,
  bindings: benchBindings,
  assets: benchAssets,
  shares: benchShares,
  'body-memory': benchBodyMemory,
};

const USAGE = `npm run bench -- [--quick] [--only ${Object.keys(PARTS).join(',')}] [--json FILE] [--sandbox auto|required|off]
    [--connections 1,16,32] [--rounds N]
`;

interface Options {
  readonly scale: BenchScale;
  readonly parts: readonly string[];
  readonly json: string | undefined;
}

function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string', default: Object.keys(PARTS).join(',') },
      json: { type: 'string' },
      sandbox: { type: 'string', default: 'auto' },
      connections: { type: 'string' },
      rounds: { type: 'string' },
    },
  });
  const { sandbox } = values;
  if (sandbox !== 'auto' && sandbox !== 'required' && sandbox !== 'off')
    throw new Error(`--sandbox ${sandbox}`);
  const parts = values.only.split(',');
  const unknown = parts.filter((part) => !Object.hasOwn(PARTS, part));
  if (unknown.length > 0) throw new Error(`--only ${unknown.join(',')}: there is no such part`);
  const amounts = values.quick ? QUICK : FULL;
  const connections = values.connections?.split(',').map(Number) ?? amounts.connections;
  const warmRounds = Number(values.rounds ?? amounts.warmRounds);
  if (![...connections, warmRounds].every((count) => Number.isInteger(count) && count > 0))
    throw new Error('--connections and --rounds are positive whole numbers');
  return { scale: { ...amounts, connections, warmRounds, sandbox }, parts, json: values.json };
}

async function sandboxState(scale: BenchScale): Promise<string> {
  await using platform = await BenchPlatform.start({ gateways: 1, sandbox: scale.sandbox });
  return describeSandbox(await platform.nodeStatus());
}

async function main(options: Options): Promise<void> {
  const machine = { ...machineFacts(), sandbox: await sandboxState(options.scale) };
  for (const [name, value] of Object.entries(machine)) process.stdout.write(`${name}: ${value}\n`);
  const rows: Row[] = [];
  const failures: string[] = [];
  for (const part of options.parts) {
    process.stderr.write(`${part} …\n`);
    try {
      rows.push(...((await PARTS[part]?.(options.scale)) ?? []));
    } catch (thrown) {
      // The other parts still tell something; the run as a whole has failed.
      failures.push(
        `${part}: ${thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)}`,
      );
    }
  }
  process.stdout.write(`\n${renderTable(rows)}\n`);
  const report: Report = { machine, rows };
  if (options.json !== undefined) await writeFile(options.json, `${JSON.stringify(report, undefined, 2)}\n`);
  for (const failure of failures) process.stderr.write(`\nFAILED ${failure}\n`);
  process.exitCode = failures.length > 0 ? 1 : 0;
}

try {
  await main(readOptions());
} catch (thrown) {
  process.stderr.write(`${thrown instanceof Error ? thrown.message : String(thrown)}\n${USAGE}`);
  process.exitCode = 2;
}
