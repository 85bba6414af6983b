/** How a platform on one machine is set up. */
import type { PlaneEvent } from './plane-process.ts';
import type { PlaneName } from './planes.ts';

export interface PlatformOptions {
  readonly dataDir: string;
  /** Default 127.0.0.1 and 8787. Port 0 lets the system choose. */
  readonly gatewayHost?: string;
  readonly gatewayPort?: number;
  /** Default 127.0.0.1 and 8788. */
  readonly controlHost?: string;
  readonly controlPort?: number;
  /** Gateway processes that share the port; 1 to 64. Default 1. */
  readonly gateways?: number;
  /** Warm slots of the node; undefined leaves it to the node. */
  readonly slots?: number;
  readonly sandbox?: 'auto' | 'required' | 'off';
  readonly baseDomain?: string;
  /** libSQL server of the control plane; undefined: a file in the data folder. */
  readonly database?: string;
  /** Bucket for code and files; undefined: folders of the data folder. */
  readonly blobs?: string;
  /** Addresses that functions may reach though they are not public: CIDR ranges or `address:port`; for tests. */
  readonly egressAllowPrivate?: readonly string[];
  /** Further settings of planes (settings.ts); each plane is given its own. */
  readonly settings?: Readonly<Record<string, string | undefined>>;
  /** All planes at once: the sooner ready, the more of it at the same time. */
  readonly startAtOnce?: boolean;
  /** Runs when the data folder is held and no plane runs yet. */
  readonly prepare?: () => Promise<void>;
  /** Of every plane, beside its settings. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly onEvent?: (event: PlaneEvent) => void;
  /** Ends a start that is under way; later it means nothing. */
  readonly signal?: AbortSignal;
  /** File that runs a plane; tests put scripted planes here. */
  readonly mainOf?: (plane: PlaneName) => string;
}

export const DEFAULTS = {
  host: '127.0.0.1',
  gatewayPort: 8787,
  controlPort: 8788,
  baseDomain: 'localhost',
} as const;
