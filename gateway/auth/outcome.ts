/** What authentication found: who calls, or why nobody may. */
import type { PlatformError } from '#shared/errors.ts';
import type { Hidden } from './token-places.ts';

export type AuthOutcome =
  /** `claims` is ready for the header: base64url of the token's JSON payload. */
  | {
      readonly kind: 'verified';
      readonly principal: string | undefined;
      readonly claims: string | undefined;
      /** The call reached no instance: its signature may be used again. */
      readonly release?: () => void;
      /** Where the token stood, when it must be taken out of what the function gets. */
      readonly hidden?: Hidden;
    }
  | {
      readonly kind: 'refused';
      readonly error: PlatformError;
      readonly challenge: 'signature' | 'bearer' | 'none';
    }
  /** This gateway holds no secret to check with; only one in front of another gateway may let it pass. */
  | { readonly kind: 'deferred' }
  | { readonly kind: 'gone' };
