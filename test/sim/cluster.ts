/** Puts a simulated cluster together from a seed: versions of all kinds, members, checkers. */
import { scalingSchema } from '#shared/contracts/config.ts';
import type { FeedItem } from '#shared/contracts/feed.ts';
import { provisionSchema } from '#shared/contracts/provision.ts';
import {
  accountNameSchema,
  aliasNameSchema,
  functionNameSchema,
  versionId,
  type VersionId,
} from '#shared/ids.ts';
import { SimNode, SimScheduler, type SimFunction, type SimVersion } from './actors.ts';
import {
  AnswerChecker,
  checkConsistency,
  checkFlight,
  checkReached,
  checkReality,
  checkSlots,
  LifeChecker,
  StartChecker,
} from './checkers.ts';
import { SimGateway } from './gateway.ts';
import { World } from './world.ts';

export const PROFILES = ['calm', 'crashes', 'gatewayNet', 'nodeNet', 'restart'] as const;
export type Profile = (typeof PROFILES)[number];

export const IDLE_MS_MAX = 4_000;
/** Far longer than a run: an instance of such a version ends by a drain or not at all. */
const NEVER_IDLE_MS = 3_600_000;
const DRAIN_MS = 3_000;

export interface Cluster {
  readonly world: World;
  readonly scheduler: SimScheduler;
  readonly nodes: readonly SimNode[];
  readonly gateways: readonly SimGateway[];
  readonly functions: readonly SimFunction[];
  /** Every version that ever was. */
  readonly versions: Map<VersionId, SimVersion>;
  readonly ceiling: number | undefined;
  readonly answers: AnswerChecker;
  readonly starts: StartChecker;
  readonly lives: LifeChecker;
}

function makeVersion(world: World, profile: Profile, name: string): SimVersion {
  const kind = world.random();
  const scaling = scalingSchema.parse({
    concurrency: world.integer(1, 8),
    maxInstances: world.integer(1, 5),
    queueDepth: world.integer(0, 20),
    queueTimeoutMs: world.integer(200, 5_000),
    idleTimeoutMs: world.integer(500, IDLE_MS_MAX),
    drainMs: DRAIN_MS,
    isolation: kind < 0.15 ? 'request' : kind < 0.35 ? 'session' : 'shared',
    ...(world.chance(0.25) ? { maxRequests: world.integer(1, 40) } : {}),
    ...(world.chance(0.2) ? { maxAgeMs: world.integer(1_000, 8_000) } : {}),
  });
  const startFailProbability = profile !== 'calm' && world.chance(0.3) ? 0.4 : 0;
  return { id: versionId('default', name, 1), scaling, startFailProbability };
}

/** The next version, which idles as usual: what is left of one that never does, only a drain ends. */
export function deploy(cluster: Cluster, target: SimFunction): void {
  const { version } = target;
  const scaling = { ...version.scaling, idleTimeoutMs: IDLE_MS_MAX };
  const number = Number(version.id.slice(version.id.lastIndexOf('@') + 1)) + 1;
  const next = { ...version, scaling, id: versionId('default', target.name, number) };
  cluster.versions.set(next.id, next);
  target.version = next;
  cluster.scheduler.want(placementOf(target));
}

export function placementOf({ name, version, provisioned }: SimFunction): FeedItem {
  const number = Number(version.id.slice(version.id.lastIndexOf('@') + 1));
  return {
    kind: 'placement',
    key: `default/${name}`,
    value: {
      account: accountNameSchema.parse('default'),
      name: functionNameSchema.parse(name),
      enabled: true,
      aliases: [
        {
          name: aliasNameSchema.parse('live'),
          weights: [{ version: number, weight: 100 }],
          ...(provisioned === 0 ? {} : { provision: provisionSchema.parse({ instances: provisioned }) }),
        },
      ],
      versions: [{ id: version.id, scaling: version.scaling }],
    },
  };
}

function ceilingOf(instances: number): FeedItem {
  const name = accountNameSchema.parse('default');
  return { kind: 'account', key: name, value: { name, ceilings: { instances } } };
}

function buildFunctions(world: World, profile: Profile): SimFunction[] {
  return Array.from({ length: world.integer(1, 6) }, (_, index) => {
    const name = `fn${index}`;
    const version = makeVersion(world, profile, name);
    // Deployed over in the run: see deploy().
    const eternal = world.chance(0.3);
    return {
      name,
      version: eternal
        ? { ...version, scaling: { ...version.scaling, idleTimeoutMs: NEVER_IDLE_MS } }
        : version,
      provisioned: world.chance(0.3) ? world.integer(1, version.scaling.maxInstances) : 0,
    };
  });
}

export function isEternal(target: SimFunction): boolean {
  return target.version.scaling.idleTimeoutMs === NEVER_IDLE_MS;
}

export function buildCluster(seed: number, profile: Profile): Cluster {
  const world = new World(seed);
  const scheduler = new SimScheduler(world);
  const functions = buildFunctions(world, profile);
  const versions = new Map(functions.map(({ version }) => [version.id, version]));
  const ceiling = world.chance(0.3) ? world.integer(1, 12) : undefined;
  const answers = new AnswerChecker();
  const starts = new StartChecker(versions, ceiling);
  const lives = new LifeChecker(versions);
  const nodes: SimNode[] = [];
  const gateways: SimGateway[] = [];
  for (let index = world.integer(1, 3); index > 0; index -= 1)
    nodes.push(new SimNode(world, scheduler, { id: `n${index}`, capacity: world.integer(1, 8), versions }));
  for (let index = world.integer(1, 3); index > 0; index -= 1)
    gateways.push(
      new SimGateway(world, scheduler, {
        id: `g${index}`,
        nodes,
        onGrant: ({ lease }) => checkSlots(world, gateways, lease.instanceId, versions.get(lease.versionId)!),
        onSend: (sent) => {
          lives.sent(sent);
          const { instanceId, versionId: id } = sent.lease;
          checkFlight(world, gateways, instanceId, versions.get(id)!);
          if (profile === 'calm') checkReached(gateways);
        },
      }),
    );
  scheduler.observers.push((event, effects, state) => {
    answers.observe(event, effects);
    starts.observe(event, effects);
    lives.observe(event, effects);
    checkConsistency(state);
    if (profile === 'calm') checkReality(nodes, versions);
  });
  if (ceiling !== undefined) scheduler.want(ceilingOf(ceiling));
  scheduler.want(...functions.map(placementOf));
  return { world, scheduler, nodes, gateways, functions, versions, ceiling, answers, starts, lives };
}
