/** `isoplane rollback`: an alias serves an earlier version again. */
import colors from 'picocolors';
import { z } from 'zod';
import { deploymentViewSchema } from '#shared/contracts/api.ts';
import { aliasNameSchema, functionNameSchema } from '#shared/ids.ts';
import type { Context } from '../context.ts';
import { EXIT } from '../failure.ts';
import { millisecondsText } from '../output.ts';
import { argument } from './arguments.ts';
import { weightsText } from './weights.ts';
import { notServed, propagationText, waitForPropagation } from './propagation.ts';

const optionsSchema = z.object({
  to: z.number().optional(),
  alias: z.string(),
  message: z.string().max(1_000).optional(),
  wait: z.boolean(),
});

export async function rollback(
  context: Context,
  args: readonly string[],
  given: Record<string, unknown>,
): Promise<number> {
  const { output } = context;
  const options = optionsSchema.parse(given);
  const name = argument('function', args[0], functionNameSchema);
  const alias = argument('--alias', options.alias, aliasNameSchema);
  const { api } = await context.platform();
  const startedMs = performance.now();
  const deployment = await api.call(
    api.path(`/functions/${name}/aliases/${alias}/rollback`),
    deploymentViewSchema,
    {
      method: 'POST',
      json: {
        ...(options.to === undefined ? {} : { toVersion: options.to }),
        ...(options.message === undefined ? {} : { message: options.message }),
      },
    },
  );
  const served = options.wait
    ? await output.step(
        'waiting until it is served',
        () => waitForPropagation(api, deployment.revision),
        propagationText,
      )
    : undefined;
  const totalMs = Math.round(performance.now() - startedMs);
  output.result({ ...deployment, propagation: served, totalMs }, () =>
    [
      `${colors.bold(name)} ${alias} serves ${weightsText(deployment.weights)} again${deployment.previous === undefined ? '' : ` (was ${weightsText(deployment.previous)})`}`,
      ...(served?.elapsedMs === undefined
        ? []
        : [`every gateway served it after ${millisecondsText(served.elapsedMs)}`]),
      colors.dim(`took ${millisecondsText(totalMs)}`),
    ].join('\n'),
  );
  return served !== undefined && !served.complete ? notServed(context, served) : EXIT.done;
}
