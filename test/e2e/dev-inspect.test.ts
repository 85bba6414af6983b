/** `isoplane dev --inspect`, by a client that speaks the protocol of Chrome's tools. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { WebSocket } from 'ws';
import { z } from 'zod';
import { tempProject } from '#cli/testing/temp-project.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { DevProcess } from '../support/dev.ts';

const targetSchema = z.array(z.object({ id: z.string(), webSocketDebuggerUrl: z.string() }));
const messageSchema = z.looseObject({
  id: z.number().optional(),
  method: z.string().optional(),
  params: z.record(z.string(), z.unknown()).optional(),
  result: z.record(z.string(), z.unknown()).optional(),
});
type Message = z.infer<typeof messageSchema>;

class Debugger implements Disposable {
  readonly messages: Message[] = [];
  readonly #socket: WebSocket;
  #nextId = 0;

  constructor(url: string) {
    this.#socket = new WebSocket(url);
    this.#socket.on('message', (data) =>
      this.messages.push(messageSchema.parse(JSON.parse((data as Buffer).toString('utf8')))),
    );
  }

  async opened(): Promise<this> {
    await new Promise((resolve, reject) => this.#socket.once('open', resolve).once('error', reject));
    return this;
  }

  async ask(method: string, params: object = {}): Promise<Record<string, unknown>> {
    this.#nextId += 1;
    const id = this.#nextId;
    this.#socket.send(JSON.stringify({ id, method, params }));
    const { result } = await waitFor(`the answer to ${method}`, () =>
      this.messages.find((each) => each.id === id),
    );
    return result ?? {};
  }

  event(method: string, count = 1): Promise<Message> {
    return waitFor(method, () => this.messages.filter((each) => each.method === method)[count - 1], 30_000);
  }

  [Symbol.dispose](): void {
    this.#socket.terminate();
  }
}

const code = (text: string): string => `const counted = { calls: 0 };
export default {
  fetch() {
    counted.calls += 1;
    const text = '${text}';
    return new Response(text);
  },
};
`;

describe('isoplane dev --inspect', { timeout: 180_000 }, () => {
  test('stops at breakpoints, evaluates, and follows the function to the next version', async ({
    expect,
  }) => {
    await using folder = await tempProject({
      'isoplane.jsonc': JSON.stringify({
        name: 'a',
        main: 'index.ts',
        compatibilityDate: '2026-11-01',
        auth: { mode: 'public' },
        limits: { cpuMs: 50, timeoutMs: 500 },
      }),
      'index.ts': code('one'),
    });
    await using dev = await DevProcess.start(folder.path, '--inspect', '0');
    const { inspector } = dev.ready;
    const [target] = targetSchema.parse(await (await fetch(`${inspector}/json`)).json());
    expect(target?.id).toBe('a');
    using tools = await new Debugger(target?.webSocketDebuggerUrl ?? '').opened();
    await tools.ask('Runtime.enable');
    await tools.ask('Debugger.enable');
    const script = await waitFor('the script', () =>
      tools.messages.find(
        ({ method, params }) =>
          method === 'Debugger.scriptParsed' && String(params?.['sourceMapURL']).startsWith('data:'),
      ),
    );
    const map = Buffer.from(String(script.params?.['sourceMapURL']).split(',')[1] ?? '', 'base64').toString(
      'utf8',
    );
    expect(map).toContain('counted.calls += 1');
    const { scriptSource } = await tools.ask('Debugger.getScriptSource', {
      scriptId: script.params?.['scriptId'],
    });
    const lineNumber = String(scriptSource)
      .split('\n')
      .findIndex((line) => line.includes('return new Response'));
    const { breakpointId } = await tools.ask('Debugger.setBreakpointByUrl', {
      url: script.params?.['url'],
      lineNumber,
    });
    expect(breakpointId).toBeTypeOf('string');

    /** A request stops there for longer than its limits would allow, and is answered. */
    const stopAndGo = async (count: number): Promise<unknown[]> => {
      const answer = dev.fetch('/').then((response) => response.text());
      const paused = await tools.event('Debugger.paused', count);
      const [frame] = z
        .array(z.looseObject({ callFrameId: z.string() }))
        .parse(paused.params?.['callFrames']);
      const { result } = await tools.ask('Debugger.evaluateOnCallFrame', {
        callFrameId: frame?.callFrameId,
        expression: '`${text} ${counted.calls}`',
      });
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      await tools.ask('Debugger.resume');
      return [(result as { value: unknown }).value, await answer];
    };
    expect(await stopAndGo(1)).toEqual(['one 1', 'one']);
    await writeFile(join(folder.path, 'index.ts'), code('two'));
    await tools.event('Runtime.executionContextsCleared');
    await waitFor('the script of the next version, with the breakpoint in it', () => {
      const parsed = tools.messages.findLastIndex(({ method, params }) => {
        const data = String(params?.['sourceMapURL']).split(',')[1] ?? '';
        return method === 'Debugger.scriptParsed' && Buffer.from(data, 'base64').includes("'two'");
      });
      return parsed >= 0;
    });
    expect(await stopAndGo(2)).toEqual(['two 1', 'two']);

    // A page of the web sends its origin, and a rebound name its own.
    const evil = new WebSocket(target?.webSocketDebuggerUrl ?? '', { origin: 'https://evil.example' });
    const refused = await new Promise((resolve) => evil.once('error', (error) => resolve(error.message)));
    expect(String(refused)).toContain('403');
  });
});
