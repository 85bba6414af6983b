/** The hostile account of a bench: its way in, and the process of its own client. */
import { fork, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { createdKeySchema } from '#shared/contracts/access.ts';
import { importSigningKey } from '#shared/signatures/sign.ts';
import { ControlApi } from '../support/api.ts';
import { fromHostileSchema, type Facts, type FromHostile } from './hostile-messages.ts';
import type { BenchPlatform } from './platform.ts';

export async function hostileAccount({
  api,
  controlUrl,
}: BenchPlatform): Promise<{ readonly api: ControlApi; readonly key: Facts['key'] }> {
  await api.call('POST', '/v1/accounts', { name: 'hostile' });
  const { id: keyId, secret = '' } = await api.expect(createdKeySchema, 'POST', '/v1/accounts/hostile/keys', {
    name: 'owner',
    role: 'owner',
    algorithm: 'ed25519',
  });
  const key = { keyId, algorithm: 'ed25519', secret } as const;
  return { api: new ControlApi(controlUrl, await importSigningKey(key), 'hostile'), key };
}

export class Attacker implements Disposable {
  readonly #child: ChildProcess;

  constructor(facts: Facts) {
    this.#child = fork(join(import.meta.dirname, 'hostile-process.ts'), [JSON.stringify(facts)], {
      execArgv: ['--disable-warning=ExperimentalWarning'],
    });
  }

  async start(attack: string): Promise<void> {
    await this.#ask({ type: 'start', attack });
  }

  async stop(): Promise<Readonly<Record<string, number>>> {
    const answer = await this.#ask({ type: 'stop' });
    return answer.type === 'stopped' ? answer.counts : {};
  }

  #ask(message: object): Promise<FromHostile> {
    return new Promise((resolve, reject) => {
      const onExit = (): void => reject(new Error('the hostile process ended'));
      this.#child.once('exit', onExit);
      this.#child.once('message', (raw) => {
        this.#child.off('exit', onExit);
        const answer = fromHostileSchema.parse(raw);
        if (answer.type === 'failed') reject(new Error(answer.message));
        else resolve(answer);
      });
      this.#child.send(message);
    });
  }

  [Symbol.dispose](): void {
    this.#child.kill();
  }
}
