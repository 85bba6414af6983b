/** What an account's ceilings say to a config. Pure. */
import type { FunctionConfig } from '#shared/contracts/config.ts';
import type { Ceilings } from '#shared/contracts/ceilings.ts';
import { PlatformError } from '#shared/errors.ts';

const LIMITED = ['cpuMs', 'timeoutMs', 'memoryMb'] as const;

/** Names of the limits that stand in what was uploaded; the others have their defaults. */
export function limitsGiven(uploaded: unknown): ReadonlySet<string> {
  const member = (value: unknown, name: string): unknown =>
    typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
  const limits = member(member(uploaded, 'config'), 'limits');
  return new Set(typeof limits === 'object' && limits !== null ? Object.keys(limits) : []);
}

export interface Lowered {
  readonly config: FunctionConfig;
  readonly warnings: readonly string[];
}

/** A default is nobody's wish: over the ceiling it becomes the ceiling. What was given is left for the refusal. */
export function lowerDefaults(
  config: FunctionConfig,
  given: ReadonlySet<string>,
  ceilings: Ceilings,
): Lowered {
  const lowered = LIMITED.flatMap((name) => {
    const most = ceilings[name];
    return most === undefined || given.has(name) || config.limits[name] <= most ? [] : [{ name, most }];
  });
  return {
    config: {
      ...config,
      limits: { ...config.limits, ...Object.fromEntries(lowered.map(({ name, most }) => [name, most])) },
    },
    warnings: lowered.map(
      ({ name, most }) =>
        `limits.${name} is ${most}, as much as the account may have: the default is ${config.limits[name]}`,
    ),
  };
}

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
