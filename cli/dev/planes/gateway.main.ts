/**
 * The gateway of `isoplane dev`: the deployed one, which also says what it served and can let everybody in.
 * It is an entry of its own, so that no setting of a deployed gateway leads here.
 */
import process from 'node:process';
import { gatewayOptions } from '#gateway/options.node.ts';
import { startGateway } from '#gateway/plane.node.ts';
import { runPlane } from '#shared/runtime/plane.node.ts';
import { watchExchanges } from './exchanges.ts';
import { pretending } from './pretend.ts';
import {
  gatewaySettingsSchema,
  type Exchange,
  type GatewaySettings,
  type Refused,
  type Settled,
} from './settings.ts';

const tell = (line: Exchange | Refused | Settled): void =>
  void process.stdout.write(`${JSON.stringify(line)}\n`);

let settings: GatewaySettings = { type: 'dev-settings', auth: 'as-deployed', claims: {}, revision: 0 };
process.on('message', (message) => {
  const told = gatewaySettingsSchema.safeParse(message);
  if (!told.success) return;
  settings = told.data;
  tell({ event: 'dev-settled', revision: settings.revision });
});

await runPlane('gateway', async (log) => {
  const options = gatewayOptions(log);
  const plane = await startGateway({
    ...options,
    // What is told of requests is seen at Node's server.
    plain: false,
    admitting: (real) =>
      pretending(real, {
        settings: () => settings,
        nowMs: Date.now,
        onRefused: () => tell({ event: 'dev-refused' }),
      }),
  });
  watchExchanges(plane.server, {
    nowMs: () => performance.now(),
    tell,
    mainHost: () => (settings.main === undefined ? undefined : `${settings.main}.${options.baseDomain}`),
  });
  return plane;
});
