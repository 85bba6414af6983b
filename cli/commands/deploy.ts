/** `isoplane deploy`: bundle, publish, move the alias, wait until it is served. */
import { z } from 'zod';
import {
  publishReplySchema,
  type publishMetadataSchema,
  type PublishMetadata,
  type PublishReply,
} from '#shared/contracts/api.ts';
import { aliasNameSchema } from '#shared/ids.ts';
import { PlatformError } from '#shared/errors.ts';
import { collectAssets, type CollectedAssets } from '../assets/collect.ts';
import { listOf, uploadAssets, type UploadedAssets } from '../assets/upload.ts';
import { bundleProject, type Bundle } from '../bundle/bundle.ts';
import { mapStack } from '../bundle/stack.ts';
import type { ControlApi } from '../client/api.ts';
import type { Context } from '../context.ts';
import { CliError, EXIT } from '../failure.ts';
import { argument } from './arguments.ts';
import { bytesText, millisecondsText, type Output } from '../output.ts';
import type { Project } from '../project/project.ts';
import { readBuild } from '../project/read-build.ts';
import { readProject } from '../project/read-project.ts';
import { putFunctionSecret, readSecretsFile } from './secret-values.ts';
import { runBuild } from './custom-build.ts';
import { addressOf, summary } from './deploy-summary.ts';
import { requireAll } from './requirements.ts';
import { notServed, propagationText, waitForPropagation } from './propagation.ts';

const optionsSchema = z.object({
  alias: z.string(),
  aliasMove: z.boolean(),
  message: z.string().max(1_000).optional(),
  wait: z.boolean(),
  minify: z.boolean().default(false),
  dryRun: z.boolean().default(false),
  secretsFile: z.string().optional(),
  env: z.string().optional(),
  name: z.string().optional(),
  auth: z.enum(['public', 'signed']).optional(),
  allowMissing: z.boolean().default(false),
});

export async function deploy(
  context: Context,
  args: readonly string[],
  given: Record<string, unknown>,
): Promise<number> {
  const { output } = context;
  const options = optionsSchema.parse(given);
  const alias = options.aliasMove ? argument('--alias', options.alias, aliasNameSchema) : undefined;
  const startedMs = performance.now();
  const secrets = options.secretsFile === undefined ? {} : await readSecretsFile(options.secretsFile);
  const project = await prepared(context, args[0] ?? '.', options);
  const bundle = await bundled(context, project, options.minify);
  for (const warning of bundle.warnings) output.warn(warning);
  const assets = await collect(context, project);
  const bundledMs = performance.now();
  if (options.dryRun) {
    showDryRun(context, project, bundle, assets);
    return EXIT.done;
  }
  const { api, connection } = await context.platform();
  const { allowMissing } = options;
  const warnings = await requireAll(api, project, { given: new Set(Object.keys(secrets)), allowMissing });
  for (const warning of warnings) output.warn(warning);
  for (const [name, value] of Object.entries(secrets))
    await putFunctionSecret(api, project.name, name, value);
  const { message } = options;
  const uploaded = assets === undefined ? undefined : await upload(context, api, project, assets);
  const reply = await output.step(
    'publishing',
    () => publish(api, project, { bundle, assets }, { alias, message }),
    publishedText,
  );
  warnOf(output, reply, message);
  const publishedMs = performance.now();
  const { deployment } = reply;
  const served =
    options.wait && deployment !== undefined
      ? await output.step(
          'waiting until it is served',
          () => waitForPropagation(api, deployment.revision),
          propagationText,
        )
      : undefined;
  const address = await addressOf(connection, api, project, deployment?.alias);
  const timings = {
    bundleMs: Math.round(bundledMs - startedMs),
    publishMs: Math.round(publishedMs - bundledMs),
    servedMs: Math.round(performance.now() - publishedMs),
    totalMs: Math.round(performance.now() - startedMs),
  };
  output.result(
    {
      function: project.name,
      version: reply.version.number,
      digest: reply.version.digest,
      created: reply.created,
      warnings: reply.warnings,
      url: address.url?.href,
      alias: deployment?.alias,
      revision: deployment?.revision,
      propagation: served,
      bytes: bundle.bytes,
      assets: assets && { files: assets.files.length, bytes: assets.bytes, uploaded },
      timings,
    },
    () => summary(project, reply, address, timings.totalMs),
  );
  return served !== undefined && !served.complete ? notServed(context, served) : EXIT.done;
}

function warnOf(
  output: Output,
  { created, version, warnings }: PublishReply,
  message: string | undefined,
): void {
  for (const warning of warnings ?? []) output.warn(warning);
  if (!created && message !== undefined)
    output.warn(
      `--message was not kept: nothing has changed since version ${version.number}, which has its own`,
    );
}

/** The project, ready to be bundled. */
async function prepared(
  context: Context,
  target: string,
  options: z.output<typeof optionsSchema>,
): Promise<Project> {
  const { env: environment, name, auth } = options;
  const build = await readBuild(target, { environment });
  if (build !== undefined) await runBuild(build, { environment });
  const project = await readProject(target, { environment, name, auth });
  for (const warning of project.warnings) context.output.warn(warning);
  refuseUnsupported(context, project, options.allowMissing);
  return project;
}

/** Code that expects a binding would be live and fail at its first request. */
function refuseUnsupported({ output }: Context, { unsupported }: Project, allowMissing: boolean): void {
  if (unsupported.length === 0) return;
  if (!allowMissing)
    throw new CliError('unsupported', 'The project asks for what Isoplane does not have.', {
      problems: unsupported,
      advice: 'With --allow-missing it is deployed without; code that uses them fails then.',
    });
  for (const { message } of unsupported) output.warn(`${message}; left out`);
}

/** What is published: with the flags and the style that the code turned out to need. */
function configOf(
  { config, limitsGiven }: Pick<Project, 'config' | 'limitsGiven'>,
  { addedFlags, style }: Bundle,
): z.input<typeof publishMetadataSchema>['config'] {
  return {
    ...config,
    // Without defaults: the platform lowers those to what the account may have, and refuses what was asked for.
    limits: Object.fromEntries(Object.entries(config.limits).filter(([name]) => limitsGiven.includes(name))),
    compatibilityFlags: [...config.compatibilityFlags, ...addedFlags],
    style: style ?? config.style,
  };
}

export async function publish(
  api: ControlApi,
  project: Pick<Project, 'name' | 'config' | 'limitsGiven'>,
  { bundle, assets }: { readonly bundle: Bundle; readonly assets?: CollectedAssets | undefined },
  { alias, message }: Pick<PublishMetadata, 'alias' | 'message'>,
): Promise<PublishReply> {
  const metadata: z.input<typeof publishMetadataSchema> = {
    config: configOf(project, bundle),
    ...(bundle.main === undefined ? {} : { main: bundle.main }),
    modules: bundle.modules.map(({ name, type }) => ({ name, type })),
    ...(alias === undefined ? {} : { alias }),
    ...(message === undefined ? {} : { message }),
  };
  const form = new FormData();
  form.set('metadata', new Blob([JSON.stringify(metadata)], { type: 'application/json' }), 'metadata.json');
  if (assets !== undefined)
    form.set(
      'assets',
      new Blob([JSON.stringify(listOf(assets))], { type: 'application/json' }),
      'assets.json',
    );
  for (const module of bundle.modules)
    form.set(`module:${module.name}`, new Blob([module.content]), module.name);
  if (bundle.sourceMap !== undefined)
    form.set(
      `map:${bundle.main}`,
      new Blob([bundle.sourceMap], { type: 'application/json' }),
      `${bundle.main}.map`,
    );
  try {
    return await api.call(api.path(`/functions/${project.name}/versions`), publishReplySchema, {
      method: 'POST',
      form,
      interrupted: `The version may still go live: \`isoplane versions ${project.name}\` shows it, \`isoplane rollback ${project.name}\` takes it back.`,
    });
  } catch (thrown) {
    throw withMappedStack(thrown, bundle);
  }
}

/** Shows where in the sources a failed start happened, also when the platform could not map it. */
function withMappedStack(thrown: unknown, bundle: Bundle): unknown {
  if (!(thrown instanceof PlatformError) || bundle.main === undefined) return thrown;
  const { stack } = thrown.extensions;
  if (typeof stack !== 'string' || bundle.sourceMap === undefined) return thrown;
  return new PlatformError(thrown.code, thrown.message, {
    cause: thrown.cause,
    extensions: { ...thrown.extensions, stack: mapStack(stack, bundle.main, bundle.sourceMap) },
    ...(thrown.publicDetail === undefined ? {} : { publicDetail: thrown.publicDetail }),
  });
}

function publishedText(reply: PublishReply): string {
  const start = reply.startMs === undefined ? '' : `, trial start ${millisecondsText(reply.startMs)}`;
  return reply.created
    ? `published version ${reply.version.number}${start}`
    : `unchanged: this is version ${reply.version.number}`;
}

async function bundled({ output }: Context, project: Project, minify: boolean): Promise<Bundle> {
  if (project.main === undefined) return bundleProject(project);
  return output.step(
    'bundling',
    () => bundleProject(project, { minify }),
    (made) =>
      `bundled ${project.name}: ${made.modules.length} module${made.modules.length === 1 ? '' : 's'}, ${bytesText(made.bytes)}`,
  );
}

function upload(
  { output }: Context,
  api: ControlApi,
  project: Project,
  assets: CollectedAssets,
): Promise<UploadedAssets> {
  return output.step(
    'uploading static assets',
    (tell) => uploadAssets(api, project.name, assets, (files, of) => tell(`${files} of ${filesText(of)}`)),
    (sent) => uploadedText(assets, sent),
  );
}

async function collect({ output }: Context, project: Project): Promise<CollectedAssets | undefined> {
  const { assetsFolder } = project;
  const { assets } = project.config;
  if (assetsFolder === undefined || assets === undefined) return undefined;
  const collected = await output.step(
    'reading static assets',
    () => collectAssets(assetsFolder, assets),
    ({ files, bytes }) => `${filesText(files.length)} of static assets, ${bytesText(bytes)}`,
  );
  for (const warning of collected.warnings) output.warn(warning);
  return collected;
}

function filesText(count: number): string {
  return `${count} file${count === 1 ? '' : 's'}`;
}

function uploadedText({ files }: CollectedAssets, sent: UploadedAssets): string {
  return sent.files === 0
    ? `static assets: nothing to upload, ${filesText(files.length)} are there`
    : `static assets: uploaded ${filesText(sent.files)}, ${bytesText(sent.bytes)}; ${files.length - sent.files} were there`;
}

function showDryRun(
  context: Context,
  project: Project,
  bundle: Bundle,
  assets: CollectedAssets | undefined,
): void {
  const modules = bundle.modules.map(({ name, type, content }) => ({
    name,
    type,
    bytes: content.byteLength,
  }));
  context.output.result(
    {
      function: project.name,
      bytes: bundle.bytes,
      modules,
      largest: bundle.largest,
      ...(assets === undefined ? {} : { assets: listOf(assets).files }),
    },
    () =>
      [
        ...modules.map(({ name, type, bytes }) => `${name}  ${type}  ${bytesText(bytes)}`),
        ...(assets?.files ?? []).map(({ path, bytes }) => `${path}  asset  ${bytesText(bytes)}`),
      ].join('\n'),
  );
}
