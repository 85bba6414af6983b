/** Reads how a project is built, from what a person wrote alone: what the last build left may not fit any more. */
import { resolve } from 'node:path';
import { overlay } from './overlay.ts';
import { problemsOf } from './problems.ts';
import type { BuildStep } from './project.ts';
import { absolutePaths, KNOWN_KEYS, translated, type ProjectOptions } from './read-project.ts';
import { projectFileSchema } from './schema.ts';
import { invalid, readSources, type Sources } from './sources.ts';

/**
 * @param target - a project folder, a configuration file, or the entry file.
 * @throws {CliError} as `readProject`, for problems of those files: before a build has taken its time.
 */
export async function readBuild(
  target: string,
  { environment, environmentOptional = false }: ProjectOptions = {},
): Promise<BuildStep | undefined> {
  const sources = await readSources(resolve(target), 'by-hand');
  const { own, wrangler, root } = sources;
  checkOwn(sources);
  const below =
    wrangler === undefined ? {} : (await translated(sources, { environment, environmentOptional })).value;
  const { build: given } = overlay(below, own?.content ?? {}).value;
  const parsed = projectFileSchema.shape.build.safeParse(given);
  if (!parsed.success)
    throw invalid(wrangler?.source.name ?? target, [
      { message: `build: ${parsed.error.issues[0]?.message ?? 'it cannot be read'}` },
    ]);
  const build = parsed.data;
  if (build === undefined) return undefined;
  return {
    command: build.command,
    cwd: resolve(root, build.cwd ?? '.'),
    watch: build.watch.map((path) => resolve(root, path)),
  };
}

function checkOwn({ own, root }: Sources): void {
  if (own === undefined) return;
  const parsed = projectFileSchema.partial().safeParse(absolutePaths(own.content, root));
  if (!parsed.success) throw invalid(own.source.name, problemsOf(parsed.error, own.source, KNOWN_KEYS));
}
