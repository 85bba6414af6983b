/** `isoplane init`: a new project that can be deployed as it stands. */
import { mkdir, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import process from 'node:process';
import { cancel, isCancel, text } from '@clack/prompts';
import colors from 'picocolors';
import { z } from 'zod';
import { functionNameSchema } from '#shared/ids.ts';
import type { Context } from '../context.ts';
import { CliError, EXIT } from '../failure.ts';
import { scaffold, TEMPLATES } from '../project/scaffold.ts';
import { argument, usage } from './arguments.ts';

const optionsSchema = z.object({
  style: z.enum(['module', 'event']),
  template: z.enum(TEMPLATES).optional(),
  wrangler: z.boolean().default(false),
});

export async function init(
  context: Context,
  args: readonly string[],
  given: Record<string, unknown>,
): Promise<number> {
  const options = argument('options', given, optionsSchema);
  const template = options.template ?? (options.style === 'event' ? 'event' : 'hello');
  if (options.style === 'event' && template !== 'event')
    throw usage(`--style event has no template ${template}`);
  if (template === 'event' && options.wrangler)
    throw usage('An event function needs isoplane.jsonc: wrangler.toml has no key for the style.');
  const folder = args[0] ?? (await askFolder(context));
  if (folder === undefined) return EXIT.failed;
  const root = resolve(folder);
  const name = argument('name (the last part of the folder)', basename(root), functionNameSchema);
  const files = await scaffold({
    name,
    template,
    format: options.wrangler ? 'wrangler' : 'isoplane',
  });
  await refuseToOverwrite(root, [...files.keys()]);
  for (const [file, content] of files) {
    const path = join(root, file);
    await mkdir(dirname(path), { recursive: true });
    // `wx`: a file that appeared in between is not overwritten either.
    await writeFile(path, content, { flag: 'wx' });
  }
  const shown = relative(process.cwd(), root) || '.';
  context.output.result({ name, folder: root, files: [...files.keys()] }, () =>
    [
      `${colors.bold(name)} is in ${shown}/: ${[...files.keys()].join(', ')}`,
      '',
      `  ${shown === '.' ? '' : `cd ${shown} && `}npx isoplane deploy`,
      colors.dim('  npm install brings the types for your editor; deploying does not need it.'),
    ].join('\n'),
  );
  return EXIT.done;
}

async function askFolder(context: Context): Promise<string | undefined> {
  if (!context.output.interactive) throw usage('Name the folder: isoplane init FOLDER');
  const answer = await text({
    message: 'Name of the function (and its folder)',
    placeholder: 'hello',
    validate: (value) =>
      functionNameSchema
        .safeParse(value)
        .error?.issues.map((issue) => issue.message)
        .join('; '),
    output: process.stderr,
  });
  if (!isCancel(answer)) return answer;
  cancel('Nothing was created.', { output: process.stderr });
  return undefined;
}

async function refuseToOverwrite(root: string, files: readonly string[]): Promise<void> {
  const existing: string[] = [];
  for (const file of [...files, 'isoplane.jsonc', 'wrangler.toml', 'wrangler.jsonc']) {
    const exists = await stat(join(root, file)).then(
      () => true,
      () => false,
    );
    if (exists && !existing.includes(file)) existing.push(file);
  }
  if (existing.length === 0) return;
  throw new CliError('would_overwrite', `${root} already holds a project; nothing was written.`, {
    problems: existing.map((file) => ({ message: 'exists', at: file })),
    advice: 'Choose another folder, or move these files away.',
  });
}
