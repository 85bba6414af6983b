/** `isoplane dev` as a person runs it, read as one JSON value a line. */
import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { waitFor } from '#shared/testing/fakes.ts';
import { spawnCli } from './cli.ts';
import { callGateway, type CallAnswer, type CallOptions } from './platform.ts';

const eventSchema = z.looseObject({ type: z.string().optional() });
type DevEvent = z.infer<typeof eventSchema>;

const readySchema = z.object({
  type: z.literal('ready'),
  url: z.string().optional(),
  functions: z.array(z.object({ name: z.string(), url: z.string() })),
  inspector: z.string().optional(),
  dataDir: z.string(),
});

const START_MS_MAX = 60_000;

export class DevProcess implements AsyncDisposable {
  readonly events: DevEvent[] = [];
  readonly child: ChildProcess;
  readonly exited: Promise<number | null>;
  errors = '';
  #gatewayUrl = '';

  private constructor(cwd: string, args: readonly string[]) {
    this.child = spawnCli(['--json', 'dev', '--port', '0', ...args], { cwd });
    this.exited = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.stderr?.on('data', (chunk: Buffer) => (this.errors += chunk.toString('utf8')));
    if (this.child.stdout === null) throw new Error('the output of `dev` is not piped');
    createInterface({ input: this.child.stdout }).on('line', (line) =>
      this.events.push(eventSchema.parse(JSON.parse(line))),
    );
  }

  static async start(cwd: string, ...args: readonly string[]): Promise<DevProcess> {
    const self = new DevProcess(cwd, args);
    const ended = self.exited.then((code) => {
      throw new Error(`isoplane dev ended with ${code}\n${self.errors}${JSON.stringify(self.events)}`);
    });
    const ready = self.event('ready', undefined, START_MS_MAX);
    await Promise.race([ready, ended]);
    // From here on an end is for the test to judge.
    ended.catch(() => undefined);
    const { gatewayUrl } = z.object({ gatewayUrl: z.string() }).parse(await ready);
    self.#gatewayUrl = gatewayUrl;
    return self;
  }

  get ready(): z.infer<typeof readySchema> {
    return readySchema.parse(this.events.find(({ type }) => type === 'ready'));
  }

  /** The first one of that type for which `matches` holds, now or later. */
  event(
    type: string,
    matches: (event: DevEvent) => boolean = () => true,
    timeoutMs?: number,
  ): Promise<DevEvent> {
    return waitFor(
      `an event ${type}`,
      () => this.events.find((event) => (event.type ?? 'error') === type && matches(event)),
      timeoutMs,
    );
  }

  call(name: string, options?: CallOptions): Promise<CallAnswer> {
    return callGateway(this.#gatewayUrl, name, options);
  }

  /** At the bare host. */
  fetch(path: string, init?: RequestInit): Promise<Response> {
    return fetch(new URL(path, this.#gatewayUrl), init);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill('SIGTERM');
    await this.exited;
  }
}
