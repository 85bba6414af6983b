/** Opens what an instance has in `env`. Values stand in the memory of the agent and of the instance alone. */
import { readFile } from 'node:fs/promises';
import type { SealedBinding } from '#shared/contracts/secrets.ts';
import { importKeyEncryptionKey, secretUnavailable, unseal, type KeyEncryptionKey } from '#shared/seal.ts';

export interface OpenBinding {
  readonly binding: string;
  readonly value: string;
}

export type OpenSecrets = (sealed: readonly SealedBinding[]) => Promise<readonly OpenBinding[]>;

/** @param keyFile - read at the first secret, and again after it could not be read. */
export function createOpenSecrets(keyFile: string): OpenSecrets {
  let loading: Promise<KeyEncryptionKey> | undefined;
  const key = async (): Promise<KeyEncryptionKey> => {
    loading ??= readFile(keyFile, 'utf8').then(importKeyEncryptionKey);
    try {
      return await loading;
    } catch (thrown) {
      loading = undefined;
      throw thrown;
    }
  };
  return async (sealed) =>
    Promise.all(
      sealed.map(async ({ binding, context, sealed: text }) => {
        try {
          return {
            binding,
            value: new TextDecoder('utf-8', { fatal: true }).decode(await unseal(await key(), text, context)),
          };
        } catch (thrown) {
          throw secretUnavailable(`the secret ${binding} does not open (${context})`, thrown);
        }
      }),
    );
}
