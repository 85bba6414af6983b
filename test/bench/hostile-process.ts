/** The hostile account's own client, in a process of the least priority: what is measured is the platform. */
import { setPriority } from 'node:os';
import process from 'node:process';
import { importSigningKey } from '#shared/signatures/sign.ts';
import { ATTACKS, Hostile } from './hostile-attacks.ts';
import { BODY_ATTACKS } from './hostile-bodies.ts';
import { factsSchema, toHostileSchema, type FromHostile } from './hostile-messages.ts';

setPriority(19);
const tell = (message: FromHostile): void => void process.send?.(message);
const facts = factsSchema.parse(JSON.parse(process.argv[2] ?? '{}'));
const key = await importSigningKey(facts.key);
let hostile: Hostile | undefined;

process.on('message', (raw) => {
  const message = toHostileSchema.parse(raw);
  if (message.type === 'stop') {
    tell({ type: 'stopped', counts: hostile?.stop() ?? {} });
    hostile = undefined;
    return;
  }
  const attack = ATTACKS[message.attack] ?? BODY_ATTACKS[message.attack];
  if (attack === undefined) return tell({ type: 'failed', message: `there is no attack ${message.attack}` });
  hostile = new Hostile(facts, key);
  attack(hostile);
  tell({ type: 'started' });
});
process.on('disconnect', () => process.exit(0));
