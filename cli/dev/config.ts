/** What a version of the session differs in from the one that would be deployed. Pure. */
import type { FunctionConfig } from '#shared/contracts/config.ts';
import { egressRulesOf } from '#shared/contracts/egress.ts';
import { LIMITS } from '#shared/limits.ts';
import { CliError } from '../failure.ts';
import type { Values } from './values.ts';

export interface DevTerms {
  /** Of .dev.vars or .env. */
  readonly values: Values;
  /** Layers as the platform of the session numbers them. */
  readonly layers: FunctionConfig['layers'];
  /** A debugger may hold a request for as long as it likes. */
  readonly inspect: boolean;
}

const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/;

export function devConfig(config: FunctionConfig, { values, layers, inspect }: DevTerms): FunctionConfig {
  const secrets = new Set(secretsOf(config));
  const own = Object.entries(values).filter(([name]) => VARIABLE.test(name) && !secrets.has(name));
  return {
    ...config,
    vars: { ...config.vars, ...Object.fromEntries(own) },
    layers,
    ...(inspect
      ? {
          limits: { ...config.limits, cpuMs: LIMITS.cpuMsMax, timeoutMs: LIMITS.timeoutMsMax },
          // The instance that a breakpoint was set in is the one that is called, and it stays.
          scaling: { ...config.scaling, maxInstances: 1, idleTimeoutMs: LIMITS.idleTimeoutMsMax },
        }
      : {}),
  };
}

/** Names of the account's secrets that the function needs. */
function secretsOf(config: FunctionConfig): readonly string[] {
  return [...new Set(egressRulesOf(config).headers.map(({ secret }) => secret))];
}

/** @throws {CliError} `secret_not_found` naming all that have no value. */
export function valuesOfSecrets(config: FunctionConfig, values: Values): ReadonlyMap<string, string> {
  const names = secretsOf(config);
  const missing = names.filter((name) => values[name] === undefined || values[name] === '');
  if (missing.length > 0)
    throw new CliError('secret_not_found', 'Secrets of the function have no value here.', {
      problems: missing.map((name) => ({ message: name })),
      advice: `Write them into .dev.vars beside the configuration, one a line: ${missing[0]}=VALUE`,
    });
  return new Map(names.map((name) => [name, values[name] ?? '']));
}
