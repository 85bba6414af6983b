/**
 * Who calls the control API: RFC 9421 signature or bearer token.
 *
 * The head is checked, and the nonce claimed, before the body is read. A signed body is hashed while it is read;
 * the caller must call `bodyRead` after its last byte and before any effect: that compares the digest.
 */
import { createHash } from 'node:crypto';
import type { Role } from '#shared/contracts/feed.ts';
import { PlatformError } from '#shared/errors.ts';
import type { AccountName, FunctionName } from '#shared/ids.ts';
import type { Clock } from '#shared/runtime/clock.ts';
import type { KeyEncryptionKey } from '#shared/seal.ts';
import { requestHead, type RequestHead } from '#shared/signatures/components.ts';
import { Shares } from '#shared/shares.ts';
import { mayHaveBeenUsed, NonceCache, SIGN_AGAIN_MS } from '#shared/signatures/replay.ts';
import {
  claimedDigests,
  equalBytes,
  parseSignatures,
  type DigestAlgorithm,
  verifySignature,
  type ParsedSignature,
} from '#shared/signatures/verify.ts';
import type { Database } from '../db/database.ts';
import { findKey, type KeyRow } from '../db/keys.ts';
import { tokenKeyId, tokenMatches, verifyKeyOf } from './keys.ts';

export interface Principal {
  readonly keyId: string;
  readonly account: AccountName;
  readonly role: Role;
  /** Undefined: every function of the account. */
  readonly functions: readonly FunctionName[] | undefined;
}

export interface Authenticated {
  readonly principal: Principal;
  /** Takes each chunk of the body. */
  hashBody(chunk: Uint8Array): void;
  /** @throws {PlatformError} `digest_mismatch`, `signature_invalid`. */
  bodyRead(): void;
  /** The body was not read to its end: the signature may be used again. */
  abandon(): void;
}

export interface AuthenticatorDeps {
  readonly db: Database;
  readonly kek: KeyEncryptionKey;
  readonly clock: Clock;
  /** Wall time of the start, ms since the epoch: what was signed before it is refused. */
  readonly startedMs: number;
}

function principalOf(row: KeyRow): Principal {
  return { keyId: row.id, account: row.account, role: row.role, functions: row.functions ?? undefined };
}

function isExpired(row: KeyRow, nowMs: number): boolean {
  return row.expiresAt !== null && row.expiresAt <= nowMs;
}

const HASHES = { 'sha-256': 'sha256', 'sha-512': 'sha512' } as const satisfies Record<
  DigestAlgorithm,
  string
>;

export class Authenticator {
  readonly #deps: AuthenticatorDeps;
  readonly #nonces: NonceCache;

  constructor(deps: AuthenticatorDeps) {
    this.#deps = deps;
    this.#nonces = new NonceCache({ clock: deps.clock, shares: new Shares('control.nonces') });
  }

  /** @throws {PlatformError} one of the 401 codes. */
  async authenticate(request: Request): Promise<Authenticated> {
    const authorization = request.headers.get('authorization');
    return authorization === null ? this.#signed(request) : this.#bearer(authorization);
  }

  async #bearer(authorization: string): Promise<Authenticated> {
    const token = /^Bearer ([\x21-\x7e]{1,4096})$/i.exec(authorization)?.[1];
    const keyId = token === undefined ? undefined : tokenKeyId(token);
    if (token === undefined || keyId === undefined)
      throw new PlatformError('token_invalid', 'the Authorization header holds no token of this platform');
    const row = await this.#deps.db.read((orm) => findKey(orm, keyId));
    if (!tokenMatches(row, token) || row === undefined)
      throw new PlatformError('token_invalid', `token of ${keyId} does not match`);
    if (isExpired(row, this.#deps.clock.wallMs()))
      throw new PlatformError('token_expired', `token ${keyId} has expired`);
    return {
      principal: principalOf(row),
      hashBody: () => undefined,
      bodyRead: () => undefined,
      abandon: () => undefined,
    };
  }

  async #signed(request: Request): Promise<Authenticated> {
    const head = headOf(request);
    const nowMs = this.#deps.clock.wallMs();
    const parsed = parseSignatures(head, nowMs);
    if (parsed.kind === 'refused')
      throw new PlatformError(parsed.code, parsed.reason, { publicDetail: parsed.reason });
    const { signature, row } = await this.#known(parsed.signatures);
    if (mayHaveBeenUsed(signature, this.#deps.startedMs))
      throw new PlatformError('signature_expired', 'signed before the control plane started', {
        publicDetail: 'It was signed before the control plane started. Sign again.',
        retryAfterMs: SIGN_AGAIN_MS,
      });
    const key = row === undefined ? undefined : await verifyKeyOf(row, this.#deps.kek);
    if (row === undefined || key === undefined || !(await verifySignature(signature, key)))
      throw new PlatformError('signature_invalid', `signature by ${signature.keyId} does not verify`);
    if (isExpired(row, nowMs))
      throw new PlatformError('signature_expired', `key ${row.id} has expired`, {
        publicDetail: 'The key has expired.',
      });
    const principal = principalOf(row);
    // Before a byte of the body is read: a spent signature costs nothing.
    const abandon = this.#claim(principal, signature);
    return { ...withBody(signature, head.header('content-digest')), principal, abandon };
  }

  /** The first signature by a key of this platform speaks for the request; others may be those of proxies. */
  async #known(signatures: readonly ParsedSignature[]): Promise<{
    readonly signature: ParsedSignature;
    readonly row: KeyRow | undefined;
  }> {
    for (const signature of signatures) {
      const row = await this.#deps.db.read((orm) => findKey(orm, signature.keyId));
      if (row !== undefined) return { signature, row };
    }
    const [signature] = signatures;
    if (signature === undefined) throw new PlatformError('signature_missing', 'no signature was parsed');
    return { signature, row: undefined };
  }

  /** @returns what releases it again. */
  #claim({ account, keyId }: Principal, signature: ParsedSignature): () => void {
    const claim = this.#nonces.claim({ account, keyId }, signature.nonce, signature.expiresMs);
    switch (claim.kind) {
      case 'fresh':
        return claim.release;
      case 'replayed':
        throw new PlatformError('signature_replayed', `nonce of ${signature.keyId} was used`);
      case 'too_old':
        throw new PlatformError('signature_expired', 'the signature is older than the nonce memory');
      case 'full':
        throw new PlatformError('replay_window_full', `the share of ${keyId} is used up`, {
          retryAfterMs: 5_000,
        });
    }
  }
}

function headOf(request: Request): RequestHead {
  return requestHead(request.method, request.url, Object.fromEntries(request.headers));
}

function withBody(
  signature: ParsedSignature,
  digestHeader: string | undefined,
): Pick<Authenticated, 'hashBody' | 'bodyRead'> {
  const claimed = [...claimedDigests(digestHeader)].map(([name, digest]) => ({
    digest,
    hash: createHash(HASHES[name]),
  }));
  let bytes = 0;
  return {
    hashBody: (chunk) => {
      bytes += chunk.byteLength;
      for (const { hash } of claimed) hash.update(chunk);
    },
    bodyRead: () => {
      if (bytes > 0 && !signature.coversDigest)
        throw new PlatformError('signature_invalid', 'body without covered content-digest', {
          publicDetail: 'A request with a body must cover content-digest.',
        });
      if (!signature.coversDigest) return;
      if (claimed.length === 0 || !claimed.every(({ digest, hash }) => equalBytes(digest, hash.digest())))
        throw new PlatformError('digest_mismatch', 'content-digest is not that of the body');
    },
  };
}
