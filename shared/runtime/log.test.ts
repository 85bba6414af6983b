/** The operator log: what a field is called never changes what a line says. */
import { test } from 'vitest';
import { FakeClock } from '../testing/fakes.ts';
import { createLog } from './log.ts';

test('keeps its own level, event and time, and the fields of those names beside them', ({ expect }) => {
  const lines: unknown[] = [];
  const log = createLog({
    write: (line) => lines.push(JSON.parse(line)),
    clock: new FakeClock(),
    fields: { plane: 'node', event: 'base' },
  });
  log.error('sandbox_incomplete', { level: 'partial', event: 'other', at: 'never', kind: 'kv' });
  log.with({ level: 'debug' }).warn('nested');
  expect(lines).toEqual([
    {
      at: '2023-11-14T22:13:20.000Z',
      level: 'error',
      event: 'sandbox_incomplete',
      plane: 'node',
      level_: 'partial',
      event_: 'other',
      at_: 'never',
      kind: 'kv',
    },
    {
      at: '2023-11-14T22:13:20.000Z',
      level: 'warn',
      event: 'nested',
      plane: 'node',
      event_: 'base',
      level_: 'debug',
    },
  ]);
});
