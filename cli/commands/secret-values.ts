/** Values of secrets on their way to the platform: files of them, and one of a function. */
import { readFile } from 'node:fs/promises';
import { parseEnv } from 'node:util';
import { z } from 'zod';
import { putFunctionSecretReplySchema, putFunctionSecretSchema } from '#shared/contracts/access.ts';
import { envSecretNameSchema } from '#shared/contracts/secrets.ts';
import type { FunctionName } from '#shared/ids.ts';
import type { ControlApi } from '../client/api.ts';
import { argument, usage } from './arguments.ts';

/** Says the law alone: what was given is a secret even when it is refused. */
export function checked<S extends z.ZodType>(schema: S, body: unknown, what: string): z.infer<S> {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  throw usage(`${what}: ${parsed.error.issues.map((issue) => issue.message).join('; ')}`);
}

export async function putFunctionSecret(
  api: ControlApi,
  functionName: FunctionName,
  name: string,
  value: string,
): Promise<z.infer<typeof putFunctionSecretReplySchema>> {
  const secret = argument('secret', name, envSecretNameSchema);
  return api.call(api.path(`/functions/${functionName}/secrets/${secret}`), putFunctionSecretReplySchema, {
    method: 'PUT',
    json: checked(putFunctionSecretSchema, { value }, `value of ${secret}`),
  });
}

const secretsFileSchema = z.record(z.string(), z.string());

/** `NAME=value` lines as in a .env file, or one JSON object of texts. */
export async function readSecretsFile(path: string): Promise<Readonly<Record<string, string>>> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (thrown) {
    throw usage(`${path} cannot be read: ${(thrown as NodeJS.ErrnoException).code ?? 'unknown reason'}`);
  }
  if (!text.trimStart().startsWith('{')) {
    const values = parseEnv(text) as Record<string, string>;
    if (Object.keys(values).length === 0 && text.trim() !== '')
      throw usage(`${path} holds no NAME=value line, and is no JSON object`);
    return values;
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw usage(`${path} is neither NAME=value lines nor a JSON object`);
  }
  const parsed = secretsFileSchema.safeParse(value);
  if (!parsed.success) throw usage(`${path}: every secret is a text`);
  return parsed.data;
}
