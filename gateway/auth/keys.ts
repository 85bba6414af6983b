/** Keys of the snapshot, imported once each. A replaced item is another object, so nothing outlives a change. */
import type { KeyItem } from '#shared/contracts/feed.ts';
import { jwkContext } from '#shared/contracts/jwks.ts';
import { unseal, type KeyEncryptionKey } from '#shared/seal.ts';
import { importEd25519, importHmac, type VerifyKey } from '#shared/signatures/verify.ts';
import type { OpenJwk } from './jwt-keys.ts';

/** Opens sealed hmac secrets; absent where the key-encryption key is not (an edge in front of a gateway). */
export interface KeyRing {
  /** undefined: this gateway cannot check signatures of that key. */
  get(item: KeyItem): Promise<VerifyKey | undefined>;
  /** Secret of a key of a token issuer. */
  readonly openJwk: OpenJwk;
}

export function createKeyRing(keyEncryptionKey: () => Promise<KeyEncryptionKey | undefined>): KeyRing {
  const imported = new WeakMap<KeyItem, Promise<VerifyKey | undefined>>();
  const load = async (item: KeyItem): Promise<VerifyKey | undefined> => {
    if (item.material.algorithm === 'ed25519') return importEd25519(item.material.publicKey);
    const wrapping = await keyEncryptionKey();
    if (wrapping === undefined) return undefined;
    // Control seals under the key's id, so a sealed secret cannot stand in for another key's.
    return importHmac(await unseal(wrapping, item.material.sealedSecret, item.id));
  };
  return {
    openJwk: async (account, sealed) => {
      const wrapping = await keyEncryptionKey();
      return wrapping === undefined ? undefined : unseal(wrapping, sealed, jwkContext(account));
    },
    get(item) {
      let key = imported.get(item);
      if (key === undefined) {
        key = load(item);
        imported.set(item, key);
        // A failure may be the key file's; the next request tries again.
        key.catch(() => imported.delete(item));
      }
      return key;
    },
  };
}
