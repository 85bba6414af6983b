/** `isoplane dev`: the project under miniflare, reload on save. */
import process from 'node:process';
import colors from 'picocolors';
import { z } from 'zod';
import type { Context } from '../context.ts';
import { hooksNote, startDev, type DevEvent } from '../dev/dev-server.ts';
import { fetchLayers, type NamedModule } from '../dev/workerd-modules.ts';
import { EXIT } from '../failure.ts';
import { millisecondsText } from '../output.ts';
import type { Project } from '../project/project.ts';

const optionsSchema = z.object({ port: z.number() });

export async function dev(
  context: Context,
  args: readonly string[],
  given: Record<string, unknown>,
): Promise<number> {
  const { output } = context;
  const { port } = optionsSchema.parse(given);
  const stopped = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve());
  });
  const show = (event: DevEvent): void => {
    switch (event.type) {
      case 'ready':
        output.result(event, () =>
          event.reloaded
            ? `reloaded in ${millisecondsText(event.tookMs)}`
            : `serving ${colors.cyan(event.url)}`,
        );
        return;
      case 'console':
        output.result(event, () => event.text);
        return;
      case 'failed':
        output.fail(event.error);
        output.note('the last good code keeps serving');
        return;
    }
  };
  const server = await startDev({
    target: args[0] ?? '.',
    port,
    layersOf: (project) => layersOf(context, project),
    onEvent: show,
  });
  output.note(
    colors.dim(
      'dev does not authenticate callers, enforces no limits, adds no secrets and has no sandbox. Ctrl-C stops it.',
    ),
  );
  await stopped;
  await server.close();
  return EXIT.done;
}

/** Layers live in the platform, so a project that uses them needs it running. */
async function layersOf(context: Context, project: Project): Promise<readonly NamedModule[]> {
  for (const warning of project.warnings) context.output.warn(warning);
  for (const { binding, function: name } of project.config.services)
    context.output.warn(
      `dev runs one function: calls through ${binding} (function ${name}) are answered 501`,
    );
  if (project.config.kv.length > 0)
    context.output.note('KV namespaces are empty in dev and last as long as it runs');
  const hooks = hooksNote(project.config.hooks);
  if (hooks !== undefined) context.output.note(hooks);
  if (project.config.layers.length === 0) return [];
  const { api } = await context.platform();
  return fetchLayers(api, project);
}
