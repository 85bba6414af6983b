/** What the agent and its egress thread say to each other. Both are of one build: no schema is needed. */
import type { EgressRules } from '#shared/contracts/egress.ts';
import type { FunctionLimits } from '#shared/contracts/config.ts';
import type { VersionId } from '#shared/ids.ts';

export interface SlotSpec {
  readonly instanceId: string;
  readonly versionId: VersionId;
  readonly socketPath: string;
  readonly owner: { readonly uid: number; readonly gid: number } | undefined;
  readonly rules: EgressRules;
  readonly limits: Pick<FunctionLimits, 'subrequests' | 'connections' | 'timeoutMs' | 'streamIdleMs'>;
}

export interface EgressSettings {
  /** Ranges and addresses that may be reached though they are not public: development and tests. */
  readonly allowPrivate: readonly string[];
  /** DNS servers; empty: those of this machine. */
  readonly dnsServers: readonly string[];
  /** PEM of a certificate authority to trust as well; for tests. */
  readonly extraCa: string | undefined;
  /** File with the key that opens secrets. Read when the first secret comes. */
  readonly nodeKeyFile: string;
}

export type ToEgress =
  | { readonly type: 'attach'; readonly spec: SlotSpec }
  | { readonly type: 'detach'; readonly instanceId: string }
  /** Key: `account/name`. Undefined: it was deleted. */
  | { readonly type: 'secret'; readonly key: string; readonly sealed: string | undefined }
  /** Answered with the last usage and the end of the thread. */
  | { readonly type: 'close' };

export interface EgressUsage {
  readonly requests: number;
  readonly bytes: number;
}

export interface EgressRefused {
  readonly instanceId: string;
  readonly message: string;
  readonly requestId?: string;
}

export type FromEgress =
  | { readonly type: 'attached'; readonly instanceId: string }
  | { readonly type: 'attach_failed'; readonly instanceId: string; readonly message: string }
  | ({ readonly type: 'refused' } & EgressRefused)
  | { readonly type: 'usage'; readonly entries: readonly (readonly [VersionId, EgressUsage])[] }
  | { readonly type: 'problem'; readonly event: string; readonly message: string };
