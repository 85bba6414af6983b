/** What an account's ceilings say to a config. Pure. */
import type { FunctionConfig } from '#shared/contracts/config.ts';
import type { Ceilings } from '#shared/contracts/provision.ts';
import { PlatformError } from '#shared/errors.ts';

const LIMITED = ['cpuMs', 'timeoutMs', 'memoryMb'] as const;

/** The refusal, with each limit that is over its ceiling; undefined when none is. */
export function overCeilings(config: FunctionConfig, ceilings: Ceilings): PlatformError | undefined {
  const problems = LIMITED.flatMap((name) => {
    const most = ceilings[name];
    const given = config.limits[name];
    if (most === undefined || given <= most) return [];
    return [{ path: `config.limits.${name}`, message: `${given} is over the account's ceiling of ${most}` }];
  });
  const [first] = problems;
  if (first === undefined) return undefined;
  return new PlatformError(
    'config_invalid',
    problems.map(({ path, message }) => `${path} ${message}`).join('; '),
    {
      publicDetail: `${first.path}: ${first.message}`,
      extensions: { problems },
    },
  );
}
