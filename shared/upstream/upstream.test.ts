/** One suite, each implementation: the port allows others, such as a host runtime's own client. */
import { systemClock } from '../runtime/clock.ts';
import { SocketClient } from './socket-client.node.ts';
import { upstreamSuite } from './upstream.suite.ts';

upstreamSuite('SocketClient', () => new SocketClient(systemClock));
