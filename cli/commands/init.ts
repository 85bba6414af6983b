/** `isoplane init`: a new project that can be deployed as it stands. */
import { readFile, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import process from 'node:process';
import { cancel, isCancel, text } from '@clack/prompts';
import colors from 'picocolors';
import { z } from 'zod';
import { functionNameSchema } from '#shared/ids.ts';
import { makeFolders } from '#shared/runtime/layout.node.ts';
import type { Context } from '../context.ts';
import { CliError, EXIT } from '../failure.ts';
import { packageFolder } from '../package-folder.ts';
import { mergeScaffold } from '../project/merge.ts';
import { FILE_NAMES } from '../project/sources.ts';
import { scaffold, TEMPLATES } from '../project/scaffold.ts';
import { argument, usage } from './arguments.ts';

const optionsSchema = z.object({
  style: z.enum(['module', 'event']),
  template: z.enum(TEMPLATES).optional(),
  wrangler: z.boolean().default(false),
  name: z.string().optional(),
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
  const folder = args[0] ?? ((await exists('package.json')) ? '.' : await askFolder(context));
  if (folder === undefined) return EXIT.failed;
  const root = resolve(folder);
  await refuseProject(root);
  const name = await nameFor(root, options.name);
  const fresh = await scaffold({
    name,
    template,
    format: options.wrangler ? 'wrangler' : 'isoplane',
    schema: await schemaPath(root),
  });
  const existing = await readExisting(root, [...fresh.keys()]);
  const merged = mergeScaffold(fresh, existing);
  for (const [file, content] of merged.files) {
    const path = join(root, file);
    await makeFolders(dirname(path));
    // `wx`: a file that appeared in between is not overwritten either.
    await writeFile(path, content, { flag: existing.has(file) ? 'w' : 'wx' });
  }
  const result = {
    name,
    folder: root,
    files: [...merged.files.keys()].filter((file) => !existing.has(file)),
    changed: Object.fromEntries(merged.changed),
    kept: merged.kept,
  };
  context.output.result(result, () => summary(result));
  return EXIT.done;
}

interface Made {
  readonly name: string;
  readonly folder: string;
  readonly files: readonly string[];
  readonly changed: Readonly<Record<string, string>>;
  readonly kept: readonly string[];
}

function summary({ name, folder, files, changed, kept }: Made): string {
  const shown = relative(process.cwd(), folder) || '.';
  return [
    `${colors.bold(name)} is in ${shown}/: ${files.join(', ')}`,
    ...Object.entries(changed).map(([file, gained]) => `${file} gained ${gained}`),
    ...(kept.length === 0 ? [] : [`left as they were: ${kept.join(', ')}`]),
    ...(kept.includes('src/index.ts')
      ? ['src/index.ts is your own: it has to export a function (`isoplane docs readme`)']
      : []),
    '',
    `  ${shown === '.' ? '' : `cd ${shown} && `}npx isoplane deploy`,
    colors.dim('  npm install brings the types for your editor; deploying does not need it.'),
  ].join('\n');
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

async function readExisting(root: string, files: readonly string[]): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const file of files) {
    const content = await readFile(join(root, file), 'utf8').catch((thrown: NodeJS.ErrnoException) => {
      if (thrown.code === 'ENOENT' || thrown.code === 'ENOTDIR') return undefined;
      throw thrown;
    });
    if (content !== undefined) found.set(file, content);
  }
  return found;
}

/** Given, else that of the folder, else that of the package in it, each in the form that a host name takes. */
async function nameFor(root: string, given: string | undefined): Promise<string> {
  if (given !== undefined) return argument('--name', given, functionNameSchema);
  const folder = functionNameSchema.safeParse(basename(root));
  if (folder.success) return folder.data;
  const manifest = await readFile(join(root, 'package.json'), 'utf8').catch(() => '');
  const packageName = /"name"\s*:\s*"(?:@[^/"]+\/)?([^"]+)"/.exec(manifest)?.[1] ?? '';
  const named = functionNameSchema.safeParse(packageName.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-'));
  if (named.success) return named.data;
  return argument(
    'name (the last part of the folder; --name gives another)',
    basename(root),
    functionNameSchema,
  );
}

/**
 * Of the schema that the project's own dependency brings, by the name that every installer links it under; else
 * of this very installation: relative where it lies nearby (this repository), so that the file means the same on
 * another machine.
 */
async function schemaPath(root: string): Promise<string> {
  const name = 'isoplane.schema.json';
  let schema = join(packageFolder(), name);
  for (let folder = root; folder !== dirname(folder); folder = dirname(folder)) {
    const own = join(folder, 'node_modules', 'isoplane', name);
    if (!(await exists(own))) continue;
    schema = own;
    break;
  }
  const path = relative(root, schema).split(sep).join('/');
  const ups = path.split('/').filter((part) => part === '..').length;
  if (ups > 3) return schema;
  return path.startsWith('.') ? path : `./${path}`;
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

/** A folder with a configuration is a project already: there is nothing to make. */
async function refuseProject(root: string): Promise<void> {
  const found: string[] = [];
  for (const file of FILE_NAMES) if (await exists(join(root, file))) found.push(file);
  if (found.length === 0) return;
  throw new CliError('would_overwrite', `${root} already holds a project; nothing was written.`, {
    problems: found.map((file) => ({ message: 'exists', at: file })),
    advice: 'It can be deployed as it is: `isoplane deploy`. Or choose another folder.',
  });
}
