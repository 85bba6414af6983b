/**
 * Goal: a kind of binding is one entry. Method: a kind that the platform does not have is given to an agent with real
 * workerd, whose function reaches it; nothing else knows of it.
 */
import { test } from 'vitest';
import { z } from 'zod';
import { parseVersionId } from '#shared/ids.ts';
import { callSocket, World } from '../testing/world.ts';
import type { AttachmentKind } from './kind.ts';

const echo: AttachmentKind = {
  name: 'echo',
  thread: new URL('./testing/echo.ts', import.meta.url),
  data: { comesUpMs: 0 },
  unavailable: 'kv_unavailable',
  stateOf: () => undefined,
  bound: {
    declare: ({ name }, { service, socketName }) => ({
      service: { name: service, kind: 'external', style: 'host', socketName },
      binding: { name, kind: 'service', service },
    }),
    target: ({ id, terms }, runnable) => ({ id, terms, account: parseVersionId(runnable.id).account }),
  },
};

const MODULE = {
  name: 'index.js',
  content: `export default { async fetch(request, env) {
    return new Response(await (await env.ECHO.fetch('http://echo/')).text());
  } };`,
};
const bindings = [{ kind: 'echo', name: 'ECHO', id: '42', terms: { loud: true } }];

test('a kind that is given to the agent reaches the code, with what the feed says of the binding', async ({
  expect,
}) => {
  await using world = await World.start({ slots: 1, kinds: [echo] });
  const { path, instanceId } = await world.run({ modules: [MODULE], bindings });
  expect(JSON.parse((await callSocket(path)).text)).toEqual({
    data: { comesUpMs: 0 },
    instanceId,
    target: { id: '42', terms: { loud: true }, account: 'default' },
  });
});

test('a thread that takes longer to come up than code may is not held against the code', async ({
  expect,
}) => {
  const slow = { ...echo, data: { comesUpMs: 4_000 } };
  await using world = await World.start({ slots: 1, kinds: [slow], startupMsMax: 3_000 });
  const { path } = await world.run({ modules: [MODULE], bindings });
  expect(JSON.parse((await callSocket(path)).text)).toMatchObject({ target: { id: '42' } });
});

test('an operator asks it by its name, and what has no answer is told so', async ({ expect }) => {
  await using world = await World.start({ slots: 0, kinds: [echo] });
  const ask = (kind: string, body: unknown): Promise<unknown> =>
    world.peer.call(`/v1/bindings/${kind}/ask`, z.unknown(), { method: 'POST', body });
  expect(await ask('echo', { any: 'thing' })).toEqual({ asked: { any: 'thing' } });
  for (const kind of ['cache', 'unheard-of', '__proto__'])
    await expect(ask(kind, {})).rejects.toMatchObject({ code: 'bad_request' });
  await expect(ask('kv', { ask: 'anything' })).rejects.toMatchObject({ code: 'kv_invalid' });
});

test('a kind that a node does not know fails the start and says why in its log', async ({ expect }) => {
  await using world = await World.start({ slots: 1 });
  await expect(world.run({ modules: [MODULE], bindings })).rejects.toMatchObject({ code: 'internal' });
  expect(world.lines.map(({ fields }) => String(fields['error']))).toContainEqual(
    expect.stringContaining('a binding of kind echo, which this node does not know'),
  );
  const known = world.control.runnable({ modules: [MODULE] });
  const reply = world.peer.call('/v1/check', z.unknown(), { method: 'POST', body: { runnable: known } });
  expect(await reply).toMatchObject({ ok: true });
});
