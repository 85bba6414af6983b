/** Service bindings, as the agent plugs them in. */
import type { Address } from '#shared/contracts/address.ts';
import { parseVersionId } from '#shared/ids.ts';
import { serviceSocket } from '../../slots/sockets.ts';
import { threadModule, type BindingKind } from '../kind.ts';
import { serviceState, type ServiceTarget } from './targets.ts';

export interface ServicesData {
  readonly nodeId: string;
  readonly schedulerAddress: Address;
  readonly rpcHost: string;
}

export function serviceBindings(data: ServicesData): BindingKind {
  return {
    name: 'services',
    thread: threadModule('./services/main.node'),
    data,
    socketsOf: (runnable) => {
      const { account, functionName } = parseVersionId(runnable.id);
      return runnable.services.map((service, index) => ({
        file: serviceSocket(index),
        target: {
          account,
          caller: functionName,
          functionName: service.function,
          alias: service.alias,
          entrypoint: service.entrypoint,
        } satisfies ServiceTarget,
      }));
    },
    stateOf: serviceState,
  };
}
