/**
 * Users that instances run as. One that was used goes to the end of the queue, so that it rests as long as
 * possible before it is used again.
 */
import { PlatformError } from '#shared/errors.ts';
import type { GuestIdentity } from '../slots/runner.ts';

export interface IdentitySource {
  /** @throws {PlatformError} `no_capacity` when all are in use. */
  take(): GuestIdentity | undefined;
  /** Its process is gone and so are its files. */
  release(identity: GuestIdentity): void;
}

export interface UidRange {
  readonly first: number;
  readonly count: number;
}

/** Everyone runs as the same user, or as the agent's. */
export function sharedIdentity(identity: GuestIdentity | undefined): IdentitySource {
  return { take: () => identity, release: () => undefined };
}

/** A user for one instance at a time; its group has the same number. */
export function ownIdentities({ first, count }: UidRange): IdentitySource {
  const rested: number[] = [];
  let fresh = first;
  return {
    take: () => {
      if (fresh < first + count) {
        fresh += 1;
        return { uid: fresh - 1, gid: fresh - 1 };
      }
      const uid = rested.shift();
      if (uid === undefined)
        throw new PlatformError('no_capacity', `all ${count} user ids of strict instances are in use`, {
          retryAfterMs: 1_000,
        });
      return { uid, gid: uid };
    },
    release: ({ uid }) => void rested.push(uid),
  };
}
