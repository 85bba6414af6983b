/**
 * A key as one line of text, so that it fits into one CI secret: a bearer token `iso_…`, or
 * `ACCOUNT:KEYID:ALGORITHM:SECRET` for a key that signs. A file may also hold the JSON of credentials.json.
 */
import { credentialsSchema, type Credentials } from '#shared/contracts/credentials.ts';
import { importSigningKey } from '#shared/signatures/sign.ts';
import { CliError, EXIT } from '../failure.ts';

export type AccessKey =
  | { readonly kind: 'signing'; readonly credentials: Credentials }
  | { readonly kind: 'token'; readonly token: string };

export function keyText(credentials: Credentials): string {
  const { account, keyId, algorithm, secret } = credentials;
  return [account, keyId, algorithm, secret].join(':');
}

/** @param source - where the text stands, for the message; the text itself is a secret and is never shown. */
export async function parseKey(text: string, source: string): Promise<AccessKey> {
  const trimmed = text.trim();
  if (/^iso_[\x21-\x7e]{1,4096}$/.test(trimmed)) return { kind: 'token', token: trimmed };
  const parsed = credentialsSchema.safeParse(trimmed.startsWith('{') ? parseJson(trimmed) : split(trimmed));
  if (!parsed.success)
    throw new CliError('key_invalid', `${source} holds no key.`, {
      exitCode: EXIT.usage,
      advice:
        'A key is a token `iso_…` or one line ACCOUNT:KEYID:ALGORITHM:SECRET, as `isoplane keys create NAME` prints it.',
    });
  try {
    await importSigningKey(parsed.data);
  } catch (thrown) {
    // Whatever the library says about the bytes might quote them.
    throw new CliError('key_invalid', `The secret of the key in ${source} is damaged.`, {
      exitCode: EXIT.usage,
      advice: 'Copy the whole line that `isoplane keys create` printed, or make a new key.',
      cause: thrown instanceof Error ? thrown.name : undefined,
    });
  }
  return { kind: 'signing', credentials: parsed.data };
}

function split(text: string): Record<string, unknown> {
  const [account, keyId, algorithm, secret, ...rest] = text.split(':');
  return rest.length > 0 ? {} : { account, keyId, algorithm, secret };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
