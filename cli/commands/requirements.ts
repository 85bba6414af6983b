/** What a deploy needs and the platform does not have: all of it at once, each with the command that makes it. */
import { functionSecretViewSchema, secretViewSchema, whoamiSchema } from '#shared/contracts/access.ts';
import { functionViewSchema, kvNamespaceViewSchema } from '#shared/contracts/api.ts';
import { bindingOfSecret } from '#shared/contracts/secrets.ts';
import { PlatformError } from '#shared/errors.ts';
import type { z } from 'zod';
import type { ControlApi } from '../client/api.ts';
import { CliError, type Problem } from '../failure.ts';
import type { Project } from '../project/project.ts';

/** Names of what exists; undefined where the key may not look, and control judges alone. */
async function existing(
  api: ControlApi,
  path: string,
  schema: z.ZodType<{ readonly name: string }>,
): Promise<ReadonlySet<string> | undefined> {
  try {
    return new Set((await api.list(api.path(path), schema)).map(({ name }) => name));
  } catch (thrown) {
    if (
      thrown instanceof PlatformError &&
      (thrown.code === 'forbidden' || thrown.code === 'function_not_found')
    )
      return undefined;
    throw thrown;
  }
}

async function functionsOfKey(api: ControlApi): Promise<readonly string[] | undefined> {
  return (await api.call('/v1/whoami', whoamiSchema)).key.functions;
}

interface Wanted {
  readonly message: string;
  readonly hint: string;
}

async function missingNamespaces(api: ControlApi, { config }: Project): Promise<Wanted[]> {
  if (config.kv.length === 0) return [];
  const names = await existing(api, '/kv-namespaces', kvNamespaceViewSchema);
  return config.kv
    .filter(({ namespace }) => names?.has(namespace) === false)
    .map(({ binding, namespace }) => ({
      message: `kv ${binding}: there is no KV namespace ${namespace}`,
      hint: `isoplane kv create ${namespace}`,
    }));
}

async function missingFunctions(api: ControlApi, { name: own, config }: Project): Promise<Wanted[]> {
  const targets = config.services.filter(({ function: target }) => target !== own);
  if (targets.length === 0) return [];
  const names = await existing(api, '/functions', functionViewSchema);
  const absent = targets.filter(({ function: target }) => names?.has(target) === false);
  // A key that is limited to functions is shown no others: whether these exist, and may be bound, control says.
  const shown = absent.length === 0 ? undefined : await functionsOfKey(api);
  return absent
    .filter(({ function: target }) => shown?.includes(target) !== false)
    .map(({ binding, function: target }) => ({
      message: `services ${binding}: there is no function ${target}`,
      hint: `isoplane deploy FOLDER_OF_${target.toUpperCase().replaceAll('-', '_')}, or --allow-missing when it comes later`,
    }));
}

async function missingSecrets(
  api: ControlApi,
  { name, config }: Project,
  given: ReadonlySet<string>,
): Promise<Wanted[]> {
  const rules = typeof config.egress === 'object' ? config.egress.headers : [];
  const bound = config.secrets.map(bindingOfSecret);
  if (rules.length === 0 && bound.length === 0) return [];
  const names = await existing(api, '/secrets', secretViewSchema);
  if (names === undefined) return [];
  const own =
    bound.length === 0
      ? undefined
      : await existing(api, `/functions/${name}/secrets`, functionSecretViewSchema);
  const has = (secret: string): boolean =>
    names.has(secret) || own?.has(secret) === true || given.has(secret);
  const wanted = new Set([
    ...rules.map(({ secret }) => secret).filter((secret) => !names.has(secret)),
    ...bound.map(({ secret }) => secret).filter((secret) => !has(secret)),
  ]);
  const ownNames = new Set(config.secrets.filter((one) => typeof one === 'string'));
  for (const { secret } of rules) ownNames.delete(secret);
  return [...wanted].map((secret) => ({
    message: `secrets: there is no secret ${secret}`,
    // Of the account only what outbound headers need, or what is bound under another name: the rest is the function's.
    hint: ownNames.has(secret)
      ? `isoplane secrets put ${secret} --function ${name}`
      : `isoplane secrets put ${secret}`,
  }));
}

/**
 * @param given - names of secrets that this deploy sets.
 * @throws {CliError} `requirements_missing`.
 */
export async function requireAll(
  api: ControlApi,
  project: Project,
  options: { readonly given: ReadonlySet<string>; readonly allowMissing: boolean },
): Promise<readonly string[]> {
  const functions = await missingFunctions(api, project);
  const missing: Problem[] = [
    ...(await missingNamespaces(api, project)),
    ...(await missingSecrets(api, project, options.given)),
    ...(options.allowMissing ? [] : functions),
  ];
  if (missing.length > 0)
    throw new CliError('requirements_missing', 'The platform lacks what the function is bound to.', {
      problems: missing,
      advice: 'Run these commands and deploy again.',
    });
  return options.allowMissing ? functions.map(({ message }) => `${message}; calls fail until there is`) : [];
}
