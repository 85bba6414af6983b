/** Origins of `cors` that no page has: the schema lets them be, for versions that were stored with one. */
import { originProblems, type Cors } from '#shared/contracts/cors.ts';
import { PlatformError } from '#shared/errors.ts';

/** @throws {PlatformError} `config_invalid` with every problem. */
export function refuseBadOrigins({ cors }: { readonly cors?: Cors | undefined }): void {
  const problems = originProblems(cors?.origins ?? []).map(({ path, message }) => ({
    path: `config.cors.${path}`,
    message,
  }));
  const [first] = problems;
  if (first === undefined) return;
  throw new PlatformError('config_invalid', `${first.path}: ${first.message}`, {
    publicDetail: `${first.path}: ${first.message}`,
    extensions: { problems },
  });
}
