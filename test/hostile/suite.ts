/**
 * Runs a table of attacks on one running platform, beside a neighbour that is called all the time, and
 * looks at the platform afterwards: planes never restarted, no process, socket folder or zombie left.
 */
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { z } from 'zod';
import type { PlatformOptions } from '#cli/up/options.ts';
import { keyOf } from '#shared/runtime/transport.node.ts';
import type { FunctionConfigInput } from '#shared/contracts/config.ts';
import { logEntrySchema, type LogEntry, type NodeStatus } from '#shared/contracts/nodes.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { ApiFailure } from '../support/api.ts';
import { TestPlatform, type CallAnswer, type CallOptions } from '../support/platform.ts';
import { processTree } from '../support/proc.ts';
import { answerProblem, functionNameOf, type Attack, type Target } from './attack.ts';
import { slotFolders } from './slots.ts';

const NEIGHBOUR_PAUSE_MS = 50;
const ATTACK_MS_MAX = 60_000;
const problemSchema = z.object({ code: z.string() });

/** Attacks on a node that does not contain code prove nothing: that is a failure, never a skip. */
export function requireFullSandbox(sandbox: NodeStatus['sandbox']): void {
  if (sandbox.level === 'full') return;
  throw new Error(
    `the sandbox of this node is ${sandbox.level} (${sandbox.missing.join('; ')}): the hostile suite proves nothing here`,
  );
}

/** What an attacker may know of the machine, so that nothing is contained by his ignorance. */
function factsOf({ platform }: TestPlatform): Readonly<Record<string, unknown>> {
  const { layout } = platform;
  return {
    gatewayUrl: platform.gatewayUrl,
    controlUrl: platform.controlUrl,
    credentials: layout.credentials,
    database: layout.database,
    kek: layout.keyEncryptionKey,
    runDir: layout.runDir,
    sockets: [layout.sockets.control, layout.sockets.scheduler, layout.sockets.node('n1')].map(keyOf),
    pids: platform.pids(),
  };
}

export interface Prepared {
  readonly platform?: Partial<PlatformOptions>;
  readonly facts?: Readonly<Record<string, unknown>>;
  /** What the servers of the suite have heard so far. */
  readonly heard?: () => readonly string[];
  /** On the running platform, before the attacks. */
  readonly setUp?: (platform: TestPlatform) => Promise<void>;
}

export class Arena implements AsyncDisposable {
  readonly platform: TestPlatform;
  readonly #pidsAtStart: Readonly<Record<string, number>>;
  readonly #watching = new AbortController();
  readonly #watcher: Promise<void>;
  readonly #facts: Readonly<Record<string, unknown>>;
  readonly #heard: () => readonly string[];
  neighbourCalls = 0;
  readonly neighbourFailures: CallAnswer[] = [];

  private constructor(platform: TestPlatform, { facts, heard }: Prepared) {
    this.platform = platform;
    this.#facts = { ...factsOf(platform), ...facts };
    this.#heard = heard ?? (() => []);
    this.#pidsAtStart = platform.platform.pids();
    this.#watcher = this.#watchNeighbour();
  }

  static async open(prepared: Prepared = {}): Promise<Arena> {
    const platform = await TestPlatform.start(prepared.platform);
    try {
      requireFullSandbox((await platform.platform.nodeStatus()).sandbox);
      await platform.api.deploy('neighbour', {
        modules: { 'index.js': `export default { fetch() { return new Response('fine'); } };` },
        config: { auth: { mode: 'public' } },
      });
      await prepared.setUp?.(platform);
      return new Arena(platform, prepared);
    } catch (thrown) {
      await platform[Symbol.asyncDispose]();
      throw thrown;
    }
  }

  async #watchNeighbour(): Promise<void> {
    while (!this.#watching.signal.aborted) {
      const answer = await this.platform.call('neighbour');
      this.neighbourCalls += 1;
      if (answer.text !== 'fine') this.neighbourFailures.push(answer);
      await new Promise((resolve) => setTimeout(resolve, NEIGHBOUR_PAUSE_MS));
    }
  }

  /** Deploys and carries out one attack. @throws what did not hold. */
  async run(attack: Attack): Promise<void> {
    const problem = await this.#problem(attack);
    if (problem !== undefined) throw new Error(problem);
  }

  async #problem(attack: Attack): Promise<string | undefined> {
    const name = functionNameOf(attack.name);
    const uploaded = this.platform.api.deploy(name, {
      modules: attack.modules,
      main: Object.keys(attack.modules)[0] ?? '',
      config: configOf(attack, this.#facts),
    });
    if (attack.must.kind === 'refused_upload') return refusalProblem(uploaded, attack.must);
    await uploaded;
    const target: Target = {
      platform: this.platform,
      name,
      call: (options: CallOptions = {}) => this.platform.call(name, options),
    };
    return (
      (await this.#outcome(attack, target)) ??
      this.#notCarriedOut(attack) ??
      (await this.#logged(attack, name)) ??
      (await this.#recovered(attack, target))
    );
  }

  async #outcome({ must, call }: Attack, target: Target): Promise<string | undefined> {
    if (must.kind === 'check') return must.check(target);
    if (must.kind === 'refused_upload') return undefined;
    return answerProblem(await target.call(call), must.answer);
  }

  #notCarriedOut({ heard }: Attack): string | undefined {
    if (heard === undefined) return undefined;
    const entries = this.#heard();
    if (entries.some((entry) => heard.test(entry))) return undefined;
    return `it was not carried out: no server heard ${heard} (${entries.length} things were heard)`;
  }

  async #logged({ log }: Attack, name: string): Promise<string | undefined> {
    if (log === undefined) return undefined;
    let seen: readonly LogEntry[] = [];
    try {
      await waitFor('the log entry', async () => {
        seen = await logsOf(this.platform, name);
        return seen.some(({ kind, message }) => kind === log.kind && log.message.test(message));
      });
      return undefined;
    } catch {
      const tail = seen.slice(-5).map(({ kind, message }) => `${kind}: ${message.slice(0, 200)}`);
      return `no ${log.kind} entry like ${log.message} in the log: ${JSON.stringify(tail)}`;
    }
  }

  async #recovered({ recovers }: Attack, target: Target): Promise<string | undefined> {
    if (recovers === undefined) return undefined;
    await waitFor(
      'the function to answer again',
      async () => (await target.call({ path: recovers })).status === 200,
    );
    return undefined;
  }

  async stopNeighbour(): Promise<void> {
    this.#watching.abort();
    await this.#watcher;
  }

  restartedPlanes(): readonly string[] {
    const now = this.platform.platform.pids();
    return Object.keys(this.#pidsAtStart).filter((plane) => now[plane] !== this.#pidsAtStart[plane]);
  }

  /** Sandboxed processes, and what the node says that there should be. */
  async census(): Promise<{ processes: number; expected: number; instances: number; zombies: number }> {
    const status = await this.platform.platform.nodeStatus();
    const node = this.platform.platform.pids()['node'] ?? 0;
    const names = await Promise.all(
      processTree(node).map(async ({ pid, name }) => ({ name, state: await stateOf(pid) })),
    );
    return {
      processes: names.filter(({ name, state }) => name === 'workerd' && state !== 'Z').length,
      expected: status.instances + status.freeSlots,
      instances: status.instances,
      zombies: names.filter(({ state }) => state === 'Z').length,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopNeighbour();
    await this.platform[Symbol.asyncDispose]();
  }
}

async function stateOf(pid: number): Promise<string> {
  const text = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return /^State:\s+(\S)/m.exec(text)?.[1] ?? 'gone';
}

export async function logsOf(platform: TestPlatform, name: string): Promise<readonly LogEntry[]> {
  const { body } = await platform.api.call('GET', `functions/${name}/logs?tail=2000`);
  return String(body)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => logEntrySchema.loose().parse(JSON.parse(line)));
}

function configOf(
  { config }: Attack,
  facts: Readonly<Record<string, unknown>>,
): Partial<FunctionConfigInput> {
  return {
    auth: { mode: 'public' },
    ...config,
    vars: { FACTS: facts as NonNullable<FunctionConfigInput['vars']>[string], ...config?.vars },
    scaling: { maxInstances: 2, idleTimeoutMs: 500, ...config?.scaling },
  };
}

async function refusalProblem(
  uploaded: Promise<unknown>,
  must: { readonly code: string; readonly reason: RegExp },
): Promise<string | undefined> {
  try {
    await uploaded;
    return 'the upload became a version';
  } catch (thrown) {
    if (!(thrown instanceof ApiFailure)) throw thrown;
    const text = JSON.stringify(thrown.answer.body);
    const { code } = problemSchema.parse(thrown.answer.body);
    return code === must.code && must.reason.test(text) ? undefined : `the upload was refused with ${text}`;
  }
}

export interface SuiteOptions {
  /** Attacks that burn the machine wait for each other. */
  readonly pace: 'together' | 'one_by_one';
  /** Called when what the file opens stands. */
  readonly prepare?: () => Prepared;
}

/** Declares the tests of one table. */
export function attackSuite(title: string, attacks: readonly Attack[], options: SuiteOptions): void {
  let arena: Arena;
  beforeAll(async () => {
    arena = await Arena.open(options.prepare?.());
  });
  afterAll(() => arena?.[Symbol.asyncDispose]());

  describe(title, { concurrent: options.pace === 'together' }, () => {
    for (const attack of attacks)
      test(attack.name, { timeout: ATTACK_MS_MAX }, async () => {
        await arena.run(attack);
      });
  });

  describe(`after ${attacks.length} attacks`, () => {
    test('the neighbour has answered every call', async ({ expect }) => {
      await arena.stopNeighbour();
      expect(arena.neighbourFailures).toEqual([]);
      expect(arena.neighbourCalls).toBeGreaterThan(0);
    });

    test('the planes are those that were started', ({ expect }) => {
      expect(arena.restartedPlanes()).toEqual([]);
    });

    test(
      'nothing is left: processes, zombies, folders',
      { timeout: 2 * ATTACK_MS_MAX },
      async ({ expect }) => {
        await waitFor(
          'the attackers to be gone',
          async () => {
            const { processes, expected, instances, zombies } = await arena.census();
            return instances <= 1 && processes === expected && zombies === 0;
          },
          ATTACK_MS_MAX,
        ).catch(async (thrown: unknown) => {
          throw new Error(`left over: ${JSON.stringify(await arena.census())}`, { cause: thrown });
        });
        const { expected } = await arena.census();
        expect(slotFolders(arena.platform)).toHaveLength(expected);
      },
    );
  });
}
