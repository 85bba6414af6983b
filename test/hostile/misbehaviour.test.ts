/** Goal: a function that lies harms itself only, and its caller hears the truth. */
import { MISBEHAVIOURS } from './misbehaviour.ts';
import { attackSuite } from './suite.ts';

attackSuite('a function that', MISBEHAVIOURS, { pace: 'together' });
