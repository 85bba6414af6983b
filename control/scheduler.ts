/** The scheduler as control sees it: a source of what is shown, and of nothing that is decided. */
import {
  functionLifeSchema,
  heldListSchema,
  type FunctionLife,
  type HeldVersion,
} from '#shared/contracts/scheduling.ts';
import type { AccountName, FunctionName } from '#shared/ids.ts';
import type { Log } from '#shared/runtime/log.ts';
import type { Address } from '#shared/contracts/address.ts';
import { peerOf } from '#shared/runtime/transport.node.ts';

/** undefined: the scheduler does not answer in time. */
export interface SchedulerReports {
  life(account: AccountName, functionName: FunctionName): Promise<FunctionLife | undefined>;
  held(account: AccountName): Promise<readonly HeldVersion[] | undefined>;
  close(): Promise<void>;
}

const ANSWER_MS = 1_000;

export function schedulerAt(address: Address, log: Log): SchedulerReports {
  const peer = peerOf(address);
  const ask = async <T>(call: (signal: AbortSignal) => Promise<T>): Promise<T | undefined> => {
    try {
      return await call(AbortSignal.timeout(ANSWER_MS));
    } catch (thrown) {
      log.debug('scheduler_unavailable', { error: thrown });
      return undefined;
    }
  };
  return {
    life: (account, functionName) =>
      ask((signal) => peer.call(`/v1/functions/${account}/${functionName}`, functionLifeSchema, { signal })),
    held: (account) =>
      ask(
        async (signal) => (await peer.call(`/v1/held?account=${account}`, heldListSchema, { signal })).items,
      ),
    close: () => peer.close(),
  };
}
