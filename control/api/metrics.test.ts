/** The door of operators: who may see the numbers of the platform, and what a plane can make them say. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { layoutOf } from '#shared/runtime/layout.node.ts';
import { closeServer, serveAt } from '#shared/runtime/transport.node.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { planesAt } from '../planes.ts';
import { world } from '../testing/world.ts';

const PATHS = ['/metrics', '/v1/metrics'];

describe('the metrics of the platform', () => {
  test('are for owners and observers of account `default`, and nobody else', async ({ expect }) => {
    await using w = await world();
    const asked: [string, string, number][] = [];
    const expected: [string, string, number][] = [];
    for (const path of PATHS) {
      const ask = async (who: string, status: number, call: Parameters<typeof w.call>[2]): Promise<void> => {
        asked.push([path, who, (await w.call('GET', path, call)).status]);
        expected.push([path, who, status]);
      };
      await ask('nobody', 401, { anonymous: true });
      await ask('the owner', 200, {});
      for (const [role, status] of [
        ['observer', 200],
        ['deployer', 403],
        ['invoker', 403],
      ] as const)
        await ask(role, status, { token: (await w.token(role)).token });
      for (const role of ['owner', 'observer'] as const)
        await ask(`${role} of another account`, 403, {
          token: (await w.token(role, { account: 'team' })).token,
        });
      const limited = await w.token('owner', { functions: ['hello'] });
      await ask('an owner of some functions', 403, { token: limited.token });
    }
    expect(asked).toEqual(expected);
  });

  test('an observer sees nothing else', async ({ expect }) => {
    await using w = await world();
    const { token } = await w.token('observer');
    for (const path of ['/v1/status', '/v1/accounts/default/functions', '/v1/accounts/default/keys'])
      expect([path, (await w.call('GET', path, { token })).status]).toEqual([path, 403]);
  });

  test('are those of all planes, each under its own name', async ({ expect }) => {
    await using w = await world({
      planes: (gateways) =>
        gateways.map((id) => ({ plane: 'gateway', id, samples: [{ name: 'isoplane_up', value: 0 }] })),
    });
    w.deps.consumers.connected('g1', 'gateway', 0);
    const { body, headers } = await w.call<string>('GET', '/metrics');
    expect(headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    const lines = body.split('\n');
    expect(lines.slice(0, 4)).toEqual([
      '# HELP isoplane_up 1: the plane was asked and answered; 0: it did not within 2 s.',
      '# TYPE isoplane_up gauge',
      'isoplane_up{plane="control",id="control"} 1',
      'isoplane_up{plane="gateway",id="g1"} 0',
    ]);
    expect(lines).toContain('isoplane_control_feed_consumers{plane="control",id="control",role="gateway"} 1');
  });
});

describe('planesAt()', () => {
  test('believes a plane only what the table of metrics knows, and names no path that it is not given', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    const layout = layoutOf(join(folder.path, 'data'));
    await mkdir(layout.runDir, { recursive: true, mode: 0o700 });
    const answers: Record<string, unknown> = {
      good: { samples: [{ name: 'isoplane_gateway_requests_total', label: 'ok', value: 3 }] },
      label: { samples: [{ name: 'isoplane_gateway_requests_total', label: 'acme/shop', value: 3 }] },
      name: { samples: [{ name: 'acme_secrets', value: 1 }] },
      kind: { samples: [{ name: 'isoplane_gateway_request_seconds', value: 1 }] },
      text: 'no samples at all',
    };
    const servers = await Promise.all(
      Object.entries(answers).map(([id, answer]) =>
        serveAt(layout.sockets.gateway(id), () => Response.json(answer)),
      ),
    );
    const hung = await serveAt(layout.sockets.gateway('hung'), () => new Promise<Response>(() => undefined));
    const found = await planesAt(layout.sockets, ['n1']).samples([
      ...Object.keys(answers),
      'hung',
      '../gateway-good',
      'x'.repeat(65),
    ]);
    await Promise.all([...servers, hung].map((server) => closeServer(server, 0)));
    const down = (plane: string, id: string) => ({ plane, id, samples: [{ name: 'isoplane_up', value: 0 }] });
    expect(found).toEqual([
      down('scheduler', 'scheduler'),
      {
        plane: 'gateway',
        id: 'good',
        samples: [
          { name: 'isoplane_up', value: 1 },
          { name: 'isoplane_gateway_requests_total', label: 'ok', value: 3 },
        ],
      },
      ...['label', 'name', 'kind', 'text', 'hung'].map((id) => down('gateway', id)),
      down('node', 'n1'),
    ]);
  });
});
