/** Bodies that cost a plane memory: large ones that stall, and ones in the smallest chunks there are. */
import { randomBytes } from 'node:crypto';
import { callsOf, tinyChunks, type Hostile } from './hostile-attacks.ts';

const MIB = 1_048_576;
const BODY_BYTES = 8 * MIB - 1;
/** Of a body before silence. */
const SENT_BYTES = 7 * MIB;
const LARGE = `content-length: ${BODY_BYTES}\r\n`;
const CHUNKED = 'transfer-encoding: chunked\r\n';

/** 100 bodies with one signature, which the first of them spends. */
function oneSignature(hostile: Hostile): void {
  const head = hostile.signed('', { host: hostile.hostOf('vault'), framing: LARGE });
  const part = Buffer.alloc(SENT_BYTES, 'x');
  const text = async (): Promise<Buffer> => Buffer.from(await head);
  hostile.hold({ most: 100, perSecond: 50, url: hostile.facts.gatewayUrl, text, part });
}

function ownSignatures(hostile: Hostile): void {
  const parts = { host: hostile.hostOf('vault'), framing: LARGE };
  const part = Buffer.alloc(SENT_BYTES, 'x');
  const text = async (): Promise<Buffer> => Buffer.from(await hostile.signed('', parts));
  hostile.hold({ most: 100, perSecond: 50, url: hostile.facts.gatewayUrl, text, part });
}

function publicBodies(hostile: Hostile): void {
  const head = Buffer.from(`POST / HTTP/1.1\r\nhost: ${hostile.hostOf('public')}\r\n${LARGE}\r\n`);
  const part = Buffer.alloc(SENT_BYTES, 'x');
  hostile.hold({ most: 40, perSecond: 50, url: hostile.facts.gatewayUrl, text: () => head, part });
}

function slowPublicBodies(hostile: Hostile): void {
  const text = Buffer.from(
    `POST / HTTP/1.1\r\nhost: ${hostile.hostOf('public')}\r\ncontent-length: 2\r\n\r\nx`,
  );
  hostile.hold({ most: 256, perSecond: 300, url: hostile.facts.gatewayUrl, text: () => text });
}

function signedChunks(hostile: Hostile): void {
  const parts = { host: hostile.hostOf('vault'), framing: CHUNKED };
  tinyChunks(hostile, {
    url: hostile.facts.gatewayUrl,
    bodies: 10,
    head: () => hostile.signed('', parts),
  });
}

function publicChunks(hostile: Hostile): void {
  const head = `POST / HTTP/1.1\r\nhost: ${hostile.hostOf('public')}\r\n${CHUNKED}\r\n`;
  tinyChunks(hostile, { url: hostile.facts.gatewayUrl, bodies: 10, head: () => Promise.resolve(head) });
}

/** Uploads of code whose module comes byte by byte. */
function uploadChunks(hostile: Hostile): void {
  const { controlUrl } = hostile.facts;
  const begin = '--x\r\ncontent-disposition: form-data; name="module:a.js"; filename="a.js"\r\n\r\n';
  const parts = {
    host: new URL(controlUrl).host,
    path: '/v1/accounts/hostile/functions/vault/versions',
    framing: `content-type: multipart/form-data; boundary=x\r\n${CHUNKED}`,
  };
  const head = async (): Promise<string> =>
    `${await hostile.signed('', parts)}${begin.length.toString(16)}\r\n${begin}\r\n`;
  tinyChunks(hostile, { url: controlUrl, bodies: 3, head });
}

function apiBodies(hostile: Hostile): void {
  const { controlUrl } = hostile.facts;
  const part = Buffer.from(`{"name":"${randomBytes(450_000).toString('hex')}`);
  const parts = {
    host: new URL(controlUrl).host,
    path: '/v1/accounts/hostile/routes',
    framing: 'content-type: application/json\r\ncontent-length: 1000000\r\n',
  };
  const text = async (): Promise<Buffer> => Buffer.from(await hostile.signed('', parts));
  hostile.hold({ most: 100, perSecond: 50, url: controlUrl, text, part });
}

export const BODY_ATTACKS: Readonly<Record<string, (hostile: Hostile) => void>> = {
  'one-signature': oneSignature,
  'own-signatures': ownSignatures,
  'public-bodies': publicBodies,
  'slow-public-bodies': slowPublicBodies,
  'signed-chunks': signedChunks,
  'public-chunks': publicChunks,
  'upload-chunks': uploadChunks,
  'large-api-bodies': apiBodies,
  'large-kv-puts': callsOf('kv-large', 3, 4),
};
