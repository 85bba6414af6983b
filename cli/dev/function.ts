/**
 * One function of a session: from its sources to a version that is served, again after each save.
 *
 * One build at a time; saves during a build are one more build after it. What fails leaves the version before in
 * place.
 */
import { prepareAssets } from '../assets/upload.ts';
import { putSecretReplySchema } from '#shared/contracts/access.ts';
import { kvNamespaceViewSchema, versionViewSchema } from '#shared/contracts/api.ts';
import { aliasNameSchema, type FunctionName } from '#shared/ids.ts';
import { PlatformError } from '#shared/errors.ts';
import { bundleProject, type Bundle } from '../bundle/bundle.ts';
import type { ControlApi } from '../client/api.ts';
import { publish } from '../commands/deploy.ts';
import { waitForPropagation } from '../commands/propagation.ts';
import { putFunctionSecret } from '../commands/secret-values.ts';
import { CliError } from '../failure.ts';
import type { Project } from '../project/project.ts';
import { readBuild } from '../project/read-build.ts';
import { readProject } from '../project/read-project.ts';
import { BuildRunner, type Changes } from './build-runner.ts';
import { devConfig, valuesOfSecrets, type SecretValues } from './config.ts';
import { publishLayers, type LayerSources } from './layers.ts';
import { readValues } from './values.ts';
import { labelOf } from './workspace.ts';

export type FunctionEvent =
  | {
      readonly type: 'served';
      readonly project: Project;
      readonly bundle: Bundle;
      readonly first: boolean;
      readonly tookMs: number;
    }
  /** Its instances may start from now on, before it is served everywhere. */
  | {
      readonly type: 'published';
      readonly name: FunctionName;
      readonly version: number;
      readonly sourceMap: Uint8Array | undefined;
    }
  | { readonly type: 'failed'; readonly label: string; readonly serves: boolean; readonly error: unknown }
  /** The function has another name than before, or its project is gone. */
  | { readonly type: 'renamed'; readonly from: FunctionName };

export interface FunctionDeps {
  readonly target: string;
  readonly api: Promise<ControlApi>;
  readonly layers: LayerSources;
  /** `env.NAME` of a wrangler file. */
  readonly environment: string | undefined;
  readonly environmentOptional: boolean;
  readonly inspect: boolean;
  readonly onEvent: (event: FunctionEvent) => void;
  /** Paths outside the project whose changes are to be told. */
  readonly watch: (paths: readonly string[]) => void;
  readonly closed: AbortSignal;
  /** Each may be taken once in a session. */
  readonly names: Names;
}

const LIVE = aliasNameSchema.parse('live');
/** Versions that stay: requests of the one before may still be under way. */
const VERSIONS_KEPT = 3;
const JOIN_LOOK_MS = 25;
const JOINED_MS_MAX = 10_000;
/** A framework empties its folder and fills it again: what is missing meanwhile is looked for this often, this long. */
const UNFINISHED_LOOK_MS = 300;
const UNFINISHED_MS_MAX = 10_000;

export class DevFunction {
  readonly target: string;
  readonly #deps: FunctionDeps;
  #name: FunctionName | undefined;
  #claimed: FunctionName | undefined;
  #root: string | undefined;
  #served: string | undefined;
  #building: Promise<void> | undefined;
  readonly #runner: BuildRunner;
  /** What changed since the last build began. */
  #changes: Changes | undefined;
  #hasFailed = false;
  #told: unknown;
  #isGenerated = false;
  #secrets = new Map<string, string>();

  constructor(deps: FunctionDeps) {
    this.#deps = deps;
    this.target = deps.target;
    this.#runner = new BuildRunner(deps);
  }

  /** Undefined before it was served for the first time. */
  get name(): FunctionName | undefined {
    return this.#name;
  }

  /** Also before it is served, when its configuration could be read. */
  get expectedName(): FunctionName | undefined {
    return this.#name ?? this.#claimed;
  }

  get label(): string {
    return this.#name ?? labelOf(this.target);
  }

  get root(): string {
    return this.#root ?? this.target;
  }

  /** Builds what is on the disk now, or once more after the build that is under way. */
  save(changes: Changes = 'all'): Promise<void> {
    this.#changes = joined(this.#changes, changes);
    this.#building ??= this.#buildAll().finally(() => {
      this.#building = undefined;
    });
    return this.#building;
  }

  async #buildAll(): Promise<void> {
    let unfinishedSinceMs: number | undefined;
    while (this.#changes !== undefined) {
      const changes = this.#changes;
      this.#changes = undefined;
      try {
        await this.#build(changes);
        unfinishedSinceMs = undefined;
      } catch (error) {
        this.#hasFailed = true;
        // What is saved meanwhile may be what mends it: only the last failure is of interest.
        if (this.#changes !== undefined) continue;
        const nowMs = performance.now();
        unfinishedSinceMs ??= nowMs;
        if (this.#isUnfinished(error) && nowMs - unfinishedSinceMs < UNFINISHED_MS_MAX) {
          await new Promise((resolve) => setTimeout(resolve, UNFINISHED_LOOK_MS));
          this.#changes = joined(this.#changes, new Set());
          continue;
        }
        // A build that has failed fails in the same way until something that it reads changes.
        if (error === this.#told) continue;
        this.#told = error;
        this.#deps.onEvent({ type: 'failed', label: this.label, serves: this.#served !== undefined, error });
      }
    }
  }

  /** Somebody else's build may be at it; one of the session itself has ended. */
  #isUnfinished(error: unknown): boolean {
    if (this.#served === undefined || this.#deps.closed.aborted) return false;
    const code = error instanceof CliError || error instanceof PlatformError ? error.code : undefined;
    if (code === 'build_failed') return false;
    return this.#isGenerated || code === 'not_built' || code === 'assets_not_found';
  }

  async #build(changes: Changes): Promise<void> {
    const startedMs = performance.now();
    const { environment, environmentOptional, inspect, onEvent } = this.#deps;
    const named = { environment, environmentOptional };
    await this.#runner.run(await readBuild(this.target, named), changes);
    const project = await readProject(this.target, named);
    this.#isGenerated = project.isGenerated;
    this.#root = project.root;
    this.#deps.names.claim(project.name, this.target);
    this.#claimed = project.name;
    const values = await readValues(project.root, environment);
    const secrets = valuesOfSecrets(project.config, values);
    const bundle = await bundleProject(project);
    const api = await this.#deps.api;
    const layers = await publishLayers(api, project.config.layers, this.#deps.layers);
    await this.#provide(api, project, secrets);
    const config = devConfig(project.config, { values, layers, inspect });
    const assets = await prepareAssets(api, project);
    const reply = await publish(
      api,
      { name: project.name, config, limitsGiven: Object.keys(config.limits) },
      { bundle, assets },
      {
        alias: LIVE,
        message: undefined,
      },
    );
    const { digest: served, number: version } = reply.version;
    onEvent({ type: 'published', name: project.name, version, sourceMap: bundle.sourceMap });
    // A debugger wants an instance to attach to before the first request.
    if (inspect)
      await api.send(api.path(`/functions/${project.name}/aliases/${LIVE}/provision`), {
        method: 'PUT',
        json: { instances: 1 },
      });
    const unchanged = served === this.#served && project.name === this.#name;
    if (unchanged && !this.#hasFailed) return;
    this.#hasFailed = false;
    if (reply.deployment !== undefined) await untilServed(api, reply.deployment.revision);
    if (this.#name !== undefined && this.#name !== project.name)
      onEvent({ type: 'renamed', from: this.#name });
    const first = this.#served === undefined;
    this.#name = project.name;
    this.#served = served;
    onEvent({ type: 'served', project, bundle, first, tookMs: performance.now() - startedMs });
    if (reply.created) void this.#tidy(api, reply.version.number);
  }

  /** What a deployment would refuse for want of is made here: it is the developer's own. */
  async #provide(
    api: ControlApi,
    { name: functionName, config }: Project,
    secrets: SecretValues,
  ): Promise<void> {
    for (const { namespace } of config.kv)
      await api
        .call(api.path('/kv-namespaces'), kvNamespaceViewSchema, {
          method: 'POST',
          json: { name: namespace },
        })
        .catch(unless('name_taken'));
    for (const [name, value] of secrets.account)
      await this.#putOnce(`account ${name}`, value, () =>
        api.call(api.path(`/secrets/${encodeURIComponent(name)}`), putSecretReplySchema, {
          method: 'PUT',
          json: { value },
        }),
      );
    for (const [name, value] of secrets.own)
      await this.#putOnce(`${functionName} ${name}`, value, () =>
        putFunctionSecret(api, functionName, name, value),
      );
  }

  async #putOnce(key: string, value: string, put: () => Promise<unknown>): Promise<void> {
    if (this.#secrets.get(key) === value) return;
    await put();
    this.#secrets.set(key, value);
  }

  /** Every save makes a version; those that nothing serves any more are of no use to anybody. */
  async #tidy(api: ControlApi, newest: number): Promise<void> {
    try {
      const path = api.path(`/functions/${this.label}/versions`);
      const versions = await api.list(path, versionViewSchema);
      const old = versions.filter(({ number }) => number <= newest - VERSIONS_KEPT);
      for (const { number } of old) await api.send(`${path}/${number}`, { method: 'DELETE' });
    } catch {
      // The next save tries again.
    }
  }
}

/** Planes that start at the same time as this may not have joined yet, and then nobody is waited for. */
async function untilServed(api: ControlApi, revision: number): Promise<void> {
  const deadlineMs = performance.now() + JOINED_MS_MAX;
  for (;;) {
    const { gateways, nodes } = await waitForPropagation(api, revision);
    if ((gateways.total > 0 && nodes.total > 0) || performance.now() > deadlineMs) return;
    await new Promise((resolve) => setTimeout(resolve, JOIN_LOOK_MS));
  }
}

function joined(before: Changes | undefined, changes: Changes): Changes {
  if (before === 'all' || changes === 'all') return 'all';
  return new Set([...(before ?? []), ...changes]);
}

function unless(code: string): (thrown: unknown) => undefined {
  return (thrown) => {
    if (thrown instanceof PlatformError && thrown.code === code) return undefined;
    throw thrown;
  };
}

/** Which project of the session has which name. */
export class Names {
  readonly #targets = new Map<FunctionName, string>();

  /** @throws {CliError} when another project has taken the name. */
  claim(name: FunctionName, target: string): void {
    this.release(target, name);
    const taken = this.#targets.get(name);
    if (taken !== undefined && taken !== target)
      throw new CliError('conflict', `Two projects of the session are called ${name}.`, {
        problems: [{ message: taken }, { message: target }],
        advice: 'Give one of them another name.',
      });
    this.#targets.set(name, target);
  }

  release(target: string, but?: FunctionName): void {
    for (const [name, at] of this.#targets) if (at === target && name !== but) this.#targets.delete(name);
  }
}
