/** The network, as the agent plugs it in: each instance has one socket, whatever its rules allow. */
import type { FunctionLimits } from '#shared/contracts/config.ts';
import type { EgressRules } from '#shared/contracts/egress.ts';
import type { VersionId } from '#shared/ids.ts';
import { threadModule, type AttachmentKind } from '../kind.ts';
import { EGRESS_SOCKET } from '../../slots/sockets.ts';

/** What an instance may reach, and how much of it. */
export interface EgressTerms {
  readonly versionId: VersionId;
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

export function egressKind(data: EgressSettings): AttachmentKind {
  return {
    name: 'egress',
    thread: threadModule('./egress/main'),
    data,
    startsWithAgent: true,
    always: {
      file: EGRESS_SOCKET,
      target: ({ id, egress: rules, limits }): EgressTerms => {
        const { subrequests, connections, timeoutMs, streamIdleMs } = limits;
        return { versionId: id, rules, limits: { subrequests, connections, timeoutMs, streamIdleMs } };
      },
    },
    // Sealed: the thread alone opens them.
    stateOf: (item) => (item.kind === 'secret' ? { key: item.key, value: item.value?.sealed } : undefined),
  };
}
