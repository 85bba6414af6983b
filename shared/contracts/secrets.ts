/**
 * Secrets: values that are sealed at rest and that no call shows.
 *
 * A function's own secrets are members of its `env`. Those of the account are bound by a function's
 * configuration, as members of `env` or as headers of its outbound requests, and their owner says for which
 * functions and hosts they are.
 */
import { z } from 'zod';
import { functionNameSchema, secretNameSchema, type SecretName } from '../ids.ts';
import { LIMITS } from '../limits.ts';
import { bindingNameSchema } from './bindings.ts';
import { hostPatternSchema } from './egress.ts';

/** Of a function's own secret: a member of `env`. */
export const envSecretNameSchema = secretNameSchema.refine(
  (name) => bindingNameSchema.safeParse(name).success,
  'a secret of a function is a member of env: use letters, digits and _',
);

/** `"NAME"`, or another name in `env` for a secret of the account. One of the function itself comes first. */
const secretBindingSchema = z.union([
  envSecretNameSchema,
  z.strictObject({
    /** Name in `env`. */
    binding: bindingNameSchema,
    /** Of the account, made by `isoplane secrets put NAME`. */
    secret: secretNameSchema,
  }),
]);
/** Each must exist when the version is published. */
export const secretBindingsSchema = z.array(secretBindingSchema).max(LIMITS.secretsPerFunctionMax);

export function bindingOfSecret(entry: z.infer<typeof secretBindingSchema>): {
  readonly binding: string;
  readonly secret: SecretName;
} {
  return typeof entry === 'string' ? { binding: entry, secret: entry } : entry;
}

/** What a node puts into `env` of a version, and opens only when it starts an instance. */
export const sealedBindingSchema = z.object({
  binding: bindingNameSchema,
  /** What it was sealed for, see {@link secretContext} and {@link functionSecretContext}. */
  context: z.string(),
  sealed: z.string(),
});
export type SealedBinding = z.infer<typeof sealedBindingSchema>;

/** Authenticated with the sealed value, so that one cannot stand in for another. */
export const secretContext = (account: string, name: string): string => `secret/${account}/${name}`;
export const functionSecretContext = (account: string, functionName: string, name: string): string =>
  `secret/${account}/${functionName}/${name}`;

/** Functions that may bind it, and no others; null: every function of the account. */
export const grantedFunctionsSchema = z.array(functionNameSchema).max(100);
/** Hosts to which it may go as a header, and nowhere else: then it is never in `env`. */
export const grantedHostsSchema = z.array(hostPatternSchema).min(1).max(100);
