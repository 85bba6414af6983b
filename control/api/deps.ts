/** Everything that the operations need. Made once, in plane.ts. */
import type { Clock, Timers } from '#shared/runtime/clock.ts';
import type { DiskRoom } from '#shared/runtime/disk.node.ts';
import type { KeyEncryptionKey } from '#shared/seal.ts';
import type { Authenticator } from '../auth/authenticate.ts';
import type { Consumers } from '../feed/consumers.ts';
import type { StackMapper } from '../logs/mapper.ts';
import type { Metrics } from '../metrics.ts';
import type { PlanesPort } from '../planes.ts';
import type { OwnNames } from '../names.ts';
import type { PublishDeps } from '../publish/publish.ts';
import type { SchedulerReports } from '../scheduler.ts';
import type { ControlShares } from '../shares.ts';

export interface ApiDeps extends PublishDeps {
  /** Seals what nodes open. */
  readonly nodeKey: KeyEncryptionKey;
  readonly authenticator: Authenticator;
  readonly consumers: Consumers;
  readonly scheduler: SchedulerReports;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly shares: ControlShares;
  readonly metrics: Metrics;
  /** Those of the other planes. */
  readonly planes: PlanesPort;
  readonly mapper: StackMapper;
  /** Hosts under it belong to accounts by name; see checkRoute. */
  readonly baseDomain: string;
  /** Where the gateways of this machine listen; undefined while nobody has said. */
  readonly gatewayUrl: () => Promise<string | undefined>;
  /** Read anew for each call: the port is known once the server listens. */
  readonly ownNames: () => OwnNames;
  /** Of the disk under the data folder; undefined when nobody can say. */
  readonly disk: () => Promise<DiskRoom | undefined>;
  readonly requestId: () => string;
}
