/**
 * The node of `isoplane dev --inspect`: its instances run with the inspector of workerd on a loopback port.
 * It is an entry of its own, so that no setting of a deployed node opens one.
 */
import process from 'node:process';
import { startAgent } from '#nodes/plane.ts';
import { agentOptions } from '#nodes/options.ts';
import { parseVersionId } from '#shared/ids.ts';
import { runPlane } from '#shared/runtime/plane.node.ts';
import type { Inspectable } from './settings.ts';

await runPlane('node', (log) =>
  startAgent({
    ...agentOptions(log),
    onInspectable: ({ versionId, port }) => {
      const { functionName, number } = parseVersionId(versionId);
      const line: Inspectable = { event: 'dev-inspectable', functionName, version: number, port };
      process.stdout.write(`${JSON.stringify(line)}\n`);
    },
  }),
);
