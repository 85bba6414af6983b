/**
 * The settings of the platform that come from the environment: which names there are, and which plane each is
 * for. A plane is given its own and no other's, and a name that nobody reads is refused: a misspelt bound
 * would be no bound.
 */
import type { z } from 'zod';
import { controlEnvironmentSchema } from '#control/config.ts';
import { gatewayEnvironmentSchema } from '#gateway/config.ts';
import { nodeEnvironmentSchema } from '#nodes/config.ts';
import { schedulerEnvironmentSchema } from '#scheduler/config.ts';
import { CliError, EXIT, type Problem } from '../failure.ts';
import { closest } from '../guess.ts';
import { COMMAND_SETTINGS } from '../settings.ts';
import type { PlaneName } from './planes.ts';

type Environment = Readonly<Record<string, string | undefined>>;

const SCHEMAS = {
  control: controlEnvironmentSchema,
  scheduler: schedulerEnvironmentSchema,
  node: nodeEnvironmentSchema,
  gateway: gatewayEnvironmentSchema,
} as const satisfies Record<PlaneName, z.ZodObject>;

/** Who is who among the planes that `isoplane up` starts is its own business. */
const OF_UP: ReadonlySet<string> = new Set([
  'ISOPLANE_NODE_ID',
  'ISOPLANE_NODE_IDS',
  'ISOPLANE_GATEWAY_ID',
  'ISOPLANE_GATEWAY_REUSE_PORT',
]);

/** Part of every plane: where its sockets lie, and what it logs. */
const OF_EVERY_PLANE = ['ISOPLANE_RUN_ROOT', 'ISOPLANE_LOG_LEVEL'] as const;

const namesOf = (plane: PlaneName): readonly string[] => Object.keys(SCHEMAS[plane].shape);
const isSetting = (name: string): boolean => name.startsWith('ISOPLANE_');

const KNOWN: readonly string[] = [
  ...new Set([
    ...Object.keys(SCHEMAS).flatMap((plane) => namesOf(plane as PlaneName)),
    ...OF_EVERY_PLANE,
    ...COMMAND_SETTINGS,
  ]),
].sort();

/** What a plane is given of the environment. */
export function settingsOf(plane: PlaneName, environment: Environment): Record<string, string> {
  const own = new Set<string>([...namesOf(plane), ...OF_EVERY_PLANE]);
  return Object.fromEntries(
    Object.entries(environment).filter(
      (entry): entry is [string, string] => own.has(entry[0]) && entry[1] !== undefined && entry[1] !== '',
    ),
  );
}

/**
 * @param runs - `up`: all planes, which it names itself.
 * @throws {CliError} `config_invalid` naming each setting that is unknown, or has a value that its plane refuses.
 */
export function checkSettings(environment: Environment, runs: PlaneName | 'up'): void {
  const planes: readonly PlaneName[] =
    runs === 'up' ? (Object.keys(SCHEMAS) as PlaneName[]) : ([runs] as const);
  const problems = [
    ...Object.keys(environment).flatMap((name) => nameProblem(name, runs)),
    ...new Map(
      planes.flatMap((plane) => valueProblems(plane, environment)).map((each) => [each.message, each]),
    ).values(),
  ];
  if (problems.length === 0) return;
  throw new CliError('config_invalid', 'The environment has settings that cannot be used.', {
    problems,
    advice: 'docs/OPERATIONS.md lists the settings; unset what is not meant for Isoplane.',
    exitCode: EXIT.usage,
  });
}

function nameProblem(name: string, runs: PlaneName | 'up'): readonly Problem[] {
  if (!isSetting(name)) return [];
  if (runs === 'up' && OF_UP.has(name))
    return [{ message: `${name} is set by \`isoplane up\` itself`, hint: 'unset it' }];
  if (KNOWN.includes(name)) return [];
  const guess = closest(name, KNOWN);
  return [
    {
      message: `${name} is no setting of Isoplane`,
      ...(guess === undefined ? {} : { hint: `did you mean ${guess}?` }),
    },
  ];
}

function valueProblems(plane: PlaneName, environment: Environment): readonly Problem[] {
  // The data folder is known by another way.
  const result = SCHEMAS[plane].safeParse({ ISOPLANE_DATA_DIR: '.', ...settingsOf(plane, environment) });
  if (result.success) return [];
  return result.error.issues.map(({ path, message }) => ({ message: `${path.join('.')}: ${message}` }));
}
