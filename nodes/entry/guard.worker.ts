/**
 * Around every handler: the scope of the request, and what became of it. A response of status 500 says whether the
 * function itself answered so, so that nobody has to guess it from the shape of an answer.
 */
import { logException } from './console.worker.ts';
import * as intact from './intact.worker.ts';
import { runIn } from './scope.worker.ts';

const OUTCOME = 'isoplane-outcome';
const ANSWERED = 'answered';
/** Without prototypes, on which the user may have put members of these dictionaries. */
const FAILED = {
  __proto__: null,
  status: 500,
  headers: { __proto__: null, [OUTCOME]: 'function_error' },
} as unknown as ResponseInit;

function failed(thrown: unknown): Response {
  logException(thrown);
  return new intact.NativeResponse(null, FAILED);
}

/** As workerd would refuse it, but in the log of the request. */
function checked(answer: unknown): Response {
  if (!intact.isResponse(answer))
    return failed(
      new intact.NativeTypeError(
        `The handler must return a Response (or a promise of one), but it returned ${nameOf(answer)}.`,
      ),
    );
  if (intact.bodyUsedOf(answer))
    return failed(
      new intact.NativeTypeError(
        'The body of the Response was already used. Return one whose body nobody has read.',
      ),
    );
  return intact.statusOf(answer) === 500 ? marked(answer) : answer;
}

function marked(answer: Response): Response {
  // Those of a fetch are immutable.
  const own = new intact.NativeResponse(intact.bodyOf(answer), answer);
  intact.setHeader(intact.responseHeadersOf(own), OUTCOME, ANSWERED);
  return own;
}

function nameOf(value: unknown): string {
  if (value === null) return 'null';
  if (typeof value !== 'object') return typeof value === 'undefined' ? 'undefined' : `a ${typeof value}`;
  return 'an object of another class';
}

async function settle(answer: unknown): Promise<Response> {
  try {
    return checked(await answer);
  } catch (thrown) {
    return failed(thrown);
  }
}

/** A handler that answers at once costs no extra promise. */
export function guard(request: Request, run: () => unknown): Response | Promise<Response> {
  return runIn(request, () => {
    try {
      const answer = run();
      return intact.isResponse(answer) ? checked(answer) : settle(answer);
    } catch (thrown) {
      return failed(thrown);
    }
  });
}
