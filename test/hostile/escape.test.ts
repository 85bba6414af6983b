/** Goal: JavaScript finds no door out of its process. Method: each attempt runs in a function of its own. */
import { ESCAPES } from './escape.ts';
import { attackSuite } from './suite.ts';

attackSuite('an escape by', ESCAPES, { pace: 'together' });
