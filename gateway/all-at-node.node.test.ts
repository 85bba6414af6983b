/**
 * Goal: what the gateway does does not depend on who reads a connection. Method: its suites once more, with every
 * connection at Node's server from its first byte on; alone they run with plain connections in front.
 */
import { afterAll, beforeAll, describe } from 'vitest';
import { defaults } from './testing/harness.node.ts';

beforeAll(() => void (defaults.plain = false));
afterAll(() => void (defaults.plain = true));

// The suites have hooks of their own, each of which holds for its file alone.
describe('bodies', async () => void (await import('./bodies.node.test.ts')));
describe('cors', async () => void (await import('./cors.node.test.ts')));
describe('edge', async () => void (await import('./edge.node.test.ts')));
describe('failures', async () => void (await import('./failures.node.test.ts')));
describe('gateway', async () => void (await import('./gateway.node.test.ts')));
describe('hygiene', async () => void (await import('./hygiene.node.test.ts')));
describe('outcomes', async () => void (await import('./outcomes.node.test.ts')));
