/** Goal: a binding gives what it names and nothing else. Method: hostile functions bound to a mirror and to KV. */
import type { TestPlatform } from '../support/platform.ts';
import { BINDING_ATTACKS, MIRROR, NAMESPACES } from './bindings.ts';
import { attackSuite } from './suite.ts';

async function setUp({ api }: TestPlatform): Promise<void> {
  await api.deploy(MIRROR, {
    modules: {
      'index.js': `export default { fetch(request) { return Response.json({ headers: [...request.headers], cf: request.cf ?? null }); } };`,
    },
    config: { auth: { mode: 'public' }, scaling: { idleTimeoutMs: 500 } },
  });
  for (const name of NAMESPACES) {
    const { status, body } = await api.call('POST', 'kv-namespaces', { name });
    if (status >= 300) throw new Error(`namespace ${name}: ${status} ${JSON.stringify(body)}`);
  }
}

attackSuite('through a binding,', BINDING_ATTACKS, { pace: 'together', prepare: () => ({ setUp }) });
