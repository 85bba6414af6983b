/** Keys of the snapshot, imported once each. A replaced item is another object, so nothing outlives a change. */
import type { KeyItem } from '#shared/contracts/feed.ts';
import { jwkContext } from '#shared/contracts/jwks.ts';
import { unseal, type KeyEncryptionKey } from '#shared/seal.ts';
import { webCrypto, type SignatureCrypto, type VerifyKey } from '#shared/signatures/verify.ts';
import type { OpenJwk } from './jwt-keys.ts';

/** Opens sealed hmac secrets; absent where the key-encryption key is not (an edge in front of a gateway). */
export interface KeyRing {
  /** undefined: this gateway cannot check signatures of that key. A promise at its first use only. */
  get(item: KeyItem): VerifyKey | undefined | Promise<VerifyKey | undefined>;
  /** Secret of a key of a token issuer. */
  readonly openJwk: OpenJwk;
  readonly crypto: SignatureCrypto;
}

export function createKeyRing(
  keyEncryptionKey: () => Promise<KeyEncryptionKey | undefined>,
  crypto: SignatureCrypto = webCrypto,
): KeyRing {
  const imported = new WeakMap<KeyItem, VerifyKey | Promise<VerifyKey | undefined>>();
  const load = async (item: KeyItem): Promise<VerifyKey | undefined> => {
    if (item.material.algorithm === 'ed25519') return crypto.ed25519(item.material.publicKey);
    const wrapping = await keyEncryptionKey();
    if (wrapping === undefined) return undefined;
    // Control seals under the key's id, so a sealed secret cannot stand in for another key's.
    return crypto.hmac(await unseal(wrapping, item.material.sealedSecret, item.id));
  };
  return {
    crypto,
    openJwk: async (account, sealed) => {
      const wrapping = await keyEncryptionKey();
      return wrapping === undefined ? undefined : unseal(wrapping, sealed, jwkContext(account));
    },
    get(item) {
      const known = imported.get(item);
      if (known !== undefined) return known;
      const loading = load(item);
      imported.set(item, loading);
      loading
        .then((key) => key === undefined || imported.set(item, key))
        // A failure may be the key file's; the next request tries again.
        .catch(() => imported.delete(item));
      return loading;
    },
  };
}
