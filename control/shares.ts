/** What accounts share at the API. */
import { Shares } from '#shared/shares.ts';
import { Permits } from '#shared/permits.ts';

export interface ControlShares {
  /** API requests in hand, and bytes of their JSON bodies. */
  readonly requests: Shares;
  readonly bodies: Shares;
  /** Bytes of uploads, on disk. */
  readonly uploads: Shares;
}

export function newShares(): ControlShares {
  return {
    requests: new Shares('control.requests'),
    bodies: new Shares('control.bodies'),
    uploads: new Shares('control.uploads'),
  };
}

export function newTrials(): Permits {
  return new Permits({
    permits: new Shares('control.trials'),
    places: new Shares('control.trialPlaces'),
    goneCode: 'control_unavailable',
  });
}
