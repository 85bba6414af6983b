/** What the platform is like, in a terminal of 80 columns. */
import { describe, test } from 'vitest';
import { fakeControl, type SeenCall, type Answer } from '../testing/fake-control.ts';
import { isoplane } from '../testing/run-command.ts';

const usage = {
  function: 'shop-frontend',
  start: '2026-11-28T10:00:00.000Z',
  end: '2026-11-28T11:00:00.000Z',
  requests: 1_234_567,
  errors: 123,
  cpuMs: 123_456,
  memoryMbMs: 123_456_789,
  requestBytes: 123_456,
  responseBytes: 123_456_789,
  egressRequests: 1_234,
  egressBytes: 123_456,
};
const status = {
  revision: 123_456_789,
  consumers: [
    {
      consumer: 'gateway-1',
      role: 'gateway',
      revision: 1,
      connected: true,
      skipped: [{ kind: 'version', key: 'default/hello/1', reason: 'it was written by a newer release' }],
    },
  ],
  nodes: [],
  storage: { full: true, freeBytes: 123_456_789, totalBytes: 1_234_567_890 },
};
const answer = ({ url }: SeenCall): Answer => ({
  body: url.includes('/usage') ? { items: [usage] } : status,
});

describe('in 80 columns', () => {
  test.for([
    ['status', /storage_full: .*\n.*room\./],
    ['usage', /shop-frontend .* 1234567 .* 120\.6 KiB/],
  ] as const)('%s fits', async ([command, says], { expect }) => {
    await using control = await fakeControl(answer);
    const { stdout, stderr } = await isoplane([command, '--data', control.dataDir]);
    expect(stdout, stderr).toMatch(says);
    for (const line of stdout.split('\n')) expect(line.length, line).toBeLessThanOrEqual(80);
  });
});
