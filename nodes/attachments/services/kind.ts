/** Service bindings, as the agent plugs them in. */
import type { Address } from '#shared/contracts/address.ts';
import { serviceTermsSchema } from '#shared/contracts/bindings.ts';
import { SCHEME } from '#shared/contracts/invoke.ts';
import { parseVersionId } from '#shared/ids.ts';
import { threadModule, type AttachmentKind } from '../kind.ts';
import { serviceState, type ServiceTarget } from './targets.ts';

export interface ServicesData {
  readonly nodeId: string;
  readonly schedulerAddress: Address;
  readonly rpcHost: string;
}

export function serviceBindings(data: ServicesData): AttachmentKind {
  return {
    name: 'service',
    thread: threadModule('./services/main'),
    data,
    bound: {
      declare: ({ name }, { service, socketName, rpcHost }) => ({
        service: {
          name: service,
          kind: 'external',
          style: 'host',
          socketName,
          capnpConnectHost: rpcHost,
          schemeHeader: SCHEME,
        },
        binding: { name, kind: 'service', service },
      }),
      target: ({ terms }, runnable): ServiceTarget => {
        const { account, functionName: caller } = parseVersionId(runnable.id);
        const { function: functionName, alias, entrypoint } = serviceTermsSchema.parse(terms);
        return { account, caller, functionName, alias, entrypoint };
      },
    },
    stateOf: serviceState,
  };
}
