/**
 * Goal: a client cannot tell whether its connection is read by the gateway itself or by Node's server. Method: the same
 * bytes to both, answers compared byte by byte.
 */
import { afterAll, beforeAll, describe, test } from 'vitest';
import type { Harness } from '../testing/harness.node.ts';
import { countAtNode, head, LAST, open, talk } from '../testing/talk.node.ts';

/** Without what differs from one answer to the next. Chunks of a body may be cut anywhere. */
function comparable(answer: string): string {
  const text = answer
    .replace(/^Date: (?!long).*\r$/m, 'Date: now\r')
    .replaceAll(/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, 'ID');
  if (!/^transfer-encoding: chunked\r$/im.test(text)) return text;
  const at = text.indexOf('\r\n\r\n') + 4;
  let body = '';
  for (let rest = text.slice(at); rest !== '';) {
    const size = Number.parseInt(rest, 16);
    const from = rest.indexOf('\r\n') + 2;
    body += rest.slice(from, from + size);
    if (size === 0) break;
    rest = rest.slice(from + size + 2);
  }
  return text.slice(0, at) + body;
}

const BROWSER = 'Origin: https://app.example.com';
const CASES: readonly (readonly [string, string])[] = [
  ['a GET', head('GET /a?b=1', ['Accept: */*'])],
  ['a POST with a body', head('POST /', ['Content-Length: 3'], 'abc')],
  ['a POST without one', head('POST /', ['Content-Length: 0'])],
  ['a PUT with 40,000 bytes', head('PUT /', ['Content-Length: 40000'], 'y'.repeat(40_000))],
  ['a HEAD', head('HEAD /big')],
  ['a HEAD of pieces', head('HEAD /pieces')],
  ['an answer without a body', head('GET /none')],
  ['an answer that nothing has changed', head('GET /same')],
  ['an answer in pieces', head('GET /pieces')],
  ['a large answer', head('GET /big')],
  ['a large answer in pieces', head('GET /big-pieces')],
  ['odd headers', head('GET /odd')],
  ['a handler that threw', head('GET /thrown')],
  ['a status 500 of its own', head('GET /own-500')],
  ['an answer that breaks off', head('GET /cut')],
  ['a body over the bound', head('POST /', ['Content-Length: 50001'], 'z'.repeat(50_001))],
  ['a preflight', head('OPTIONS /', [BROWSER, 'Access-Control-Request-Method: PUT'])],
  ['another origin', head('GET /a', [BROWSER])],
  ['nobody known', head('GET /', [], '', 'vault.localhost')],
  ['no such function', head('GET /', [], '', 'nobody.localhost')],
  ['a function named twice', head('GET //x%2fy')],
  ['the bare domain', head('GET /healthz', [], '', 'localhost')],
  ['a request to close', head('GET /a', ['Connection: close'])],
  ['a refusal and to close', head('GET /', ['Connection: close'], '', 'nobody.localhost')],
];

describe('answers', () => {
  let plain: Harness;
  let node: Harness;
  const atNode = { plain: { count: 0 }, node: { count: 0 } };
  beforeAll(async () => {
    plain = await open({ plain: true });
    node = await open({ plain: false });
    atNode.plain = countAtNode(plain);
    atNode.node = countAtNode(node);
  });
  afterAll(() => Promise.all([plain, node].map((each) => each?.[Symbol.asyncDispose]())));

  test.for(CASES)('%s: the same bytes', async ([, request], { expect }) => {
    const before = [atNode.plain.count, atNode.node.count];
    const [byUs = [], byNode = []] = await Promise.all(
      [plain, node].map((each) => talk(each, [request, LAST])),
    );
    expect(byUs.map(comparable)).toEqual(byNode.map(comparable));
    expect(byUs[0]).toMatch(/^HTTP\/1\.1 \d{3} /);
    // It was the gateway itself that read one of them, and Node the other.
    expect(atNode.plain.count).toBe(before[0]);
    expect(atNode.node.count).toBeGreaterThan(before[1] ?? 0);
  });

  test('an instance that ends without an answer: the same bytes', async ({ expect }) => {
    const answers = await Promise.all([plain, node].map((each) => talk(each, [head('GET /reset'), LAST])));
    expect(answers[0]?.map(comparable)).toEqual(answers[1]?.map(comparable));
  });

  test('an expectation that nobody meets is a problem document', async ({ expect }) => {
    for (const gateway of [plain, node]) {
      const [answer = ''] = await talk(gateway, [head('GET /', ['Expect: a-lot'])]);
      expect(answer).toMatch(/^HTTP\/1\.1 417 [^]*application\/problem\+json[^]*"code":"expectation_failed"/);
    }
  });
});
