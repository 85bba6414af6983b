/** What a version of the session differs in from the one that would be deployed. Pure. */
import type { FunctionConfig } from '#shared/contracts/config.ts';
import { egressRulesOf } from '#shared/contracts/egress.ts';
import { bindingOfSecret } from '#shared/contracts/secrets.ts';
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
  const secrets = new Set(secretsNeeded(config).flatMap(({ keys }) => keys));
  const own = Object.entries(values).filter(([name]) => VARIABLE.test(name) && !secrets.has(name));
  return {
    ...config,
    vars: { ...config.vars, ...Object.fromEntries(own) },
    layers,
    // A session has no routes: without its own host nothing would lead to the function.
    defaultHost: true,
    ...(inspect
      ? {
          limits: { ...config.limits, cpuMs: LIMITS.cpuMsMax, timeoutMs: LIMITS.timeoutMsMax },
          // The instance that a breakpoint was set in is the one that is called, and it stays.
          scaling: { ...config.scaling, maxInstances: 1, idleTimeoutMs: LIMITS.idleTimeoutMsMax },
        }
      : {}),
  };
}

export interface SecretValues {
  /** The function's own, by their name in `env`. */
  readonly own: ReadonlyMap<string, string>;
  /** Of the account. */
  readonly account: ReadonlyMap<string, string>;
}

interface Needed {
  readonly kind: keyof SecretValues;
  readonly name: string;
  /** Names under which its value may stand. */
  readonly keys: readonly string[];
}

function secretsNeeded(config: FunctionConfig): readonly Needed[] {
  const bound = config.secrets.map(bindingOfSecret).map(({ binding, secret }): Needed => {
    const isOwn = binding === secret;
    return { kind: isOwn ? 'own' : 'account', name: secret, keys: isOwn ? [secret] : [binding, secret] };
  });
  const headers = new Set(egressRulesOf(config).headers.map(({ secret }) => secret));
  return [...bound, ...[...headers].map((name): Needed => ({ kind: 'account', name, keys: [name] }))];
}

/** @throws {CliError} `secret_not_found` naming all that have no value. */
export function valuesOfSecrets(config: FunctionConfig, values: Values): SecretValues {
  const found = { own: new Map<string, string>(), account: new Map<string, string>() };
  const missing: string[] = [];
  for (const { kind, name, keys } of secretsNeeded(config)) {
    const value = keys.map((key) => values[key]).find((each) => each !== undefined && each !== '');
    if (value === undefined) missing.push(keys[0] ?? name);
    else found[kind].set(name, value);
  }
  if (missing.length > 0)
    throw new CliError('secret_not_found', 'Secrets of the function have no value here.', {
      problems: missing.map((name) => ({ message: name })),
      advice: `Write them into .dev.vars beside the configuration, one a line: ${missing[0]}=VALUE`,
    });
  return found;
}
