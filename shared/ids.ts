/**
 * Names and identifiers, each a branded string that only its parser makes.
 *
 * A version id is readable (`default/hello@3`) and unique for ever: numbers are never reused, not even
 * after the function was deleted.
 */
import { z } from 'zod';

const NAME = /^[a-z](?:[a-z0-9]|-(?!-)){0,61}[a-z0-9]$|^[a-z]$/;

/** Lower-case DNS label without `--`, so that it can stand in a host name. 1 to 63 characters. */
export const nameSchema = z
  .string()
  .regex(
    NAME,
    'use 1 to 63 of a-z, 0-9 and single hyphens, starting with a letter and ending with a letter or digit',
  );

export const accountNameSchema = nameSchema.brand<'AccountName'>();
export const functionNameSchema = nameSchema.brand<'FunctionName'>();
export const aliasNameSchema = nameSchema.brand<'AliasName'>();
export const layerNameSchema = nameSchema.brand<'LayerName'>();
export const kvNamespaceNameSchema = nameSchema.brand<'KvNamespaceName'>();
export const secretNameSchema = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_-]{0,62}$/, 'use 1 to 63 letters, digits, _ and -, not a digit or - first')
  .refine((name) => name !== '__proto__', 'no object has a member of that name')
  .brand<'SecretName'>();
export const versionNumberSchema = z.number().int().min(1).max(Number.MAX_SAFE_INTEGER);
export const digestSchema = z
  .string()
  .regex(/^[0-9a-f]{64}$/, 'a sha-256 digest is 64 lower-case hexadecimal digits')
  .brand<'Digest'>();
export const versionIdSchema = z
  .string()
  .regex(/^[a-z0-9-]{1,63}\/[a-z0-9-]{1,63}@[1-9][0-9]*$/)
  .brand<'VersionId'>();

export type AccountName = z.infer<typeof accountNameSchema>;
export type FunctionName = z.infer<typeof functionNameSchema>;
export type AliasName = z.infer<typeof aliasNameSchema>;
export type KvNamespaceName = z.infer<typeof kvNamespaceNameSchema>;
export type SecretName = z.infer<typeof secretNameSchema>;
export type LayerName = z.infer<typeof layerNameSchema>;
/** sha-256, 64 lower-case hexadecimal digits. */
export type Digest = z.infer<typeof digestSchema>;
export type VersionId = z.infer<typeof versionIdSchema>;

export function versionId(account: string, functionName: string, number: number): VersionId {
  return versionIdSchema.parse(`${account}/${functionName}@${number}`);
}

/** `default/hello@3` → its parts. */
export function parseVersionId(id: VersionId): {
  account: AccountName;
  functionName: FunctionName;
  number: number;
} {
  const slash = id.indexOf('/');
  const at = id.lastIndexOf('@');
  return {
    account: accountNameSchema.parse(id.slice(0, slash)),
    functionName: functionNameSchema.parse(id.slice(slash + 1, at)),
    number: Number(id.slice(at + 1)),
  };
}
