/** Goal: whoever takes more than his share gets his own outcome, and nobody else feels it. */
import { LIMIT_ATTACKS } from './limits.ts';
import { attackSuite } from './suite.ts';

attackSuite('taking too much by', LIMIT_ATTACKS, { pace: 'one_by_one' });
