/** Sockets that read into one buffer: what comes is whole, in order, and nobody else's. */
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { addressAt } from '../contracts/address.ts';
import { waitFor } from '../testing/fakes.ts';
import { tempFolder } from '../testing/temp.node.ts';
import { takeReads } from './reads.node.ts';
import { connectReading } from './transport.node.ts';

async function pairs(count: number) {
  const folder = await tempFolder();
  const accepted: Socket[] = [];
  const server = createServer((socket) => accepted.push(socket));
  const path = join(folder.path, 's');
  await once(server.listen(path), 'listening');
  const read: Buffer[][] = Array.from({ length: count }, () => []);
  const clients: Socket[] = [];
  for (let index = 0; index < count; index += 1) {
    const client = connectReading(addressAt(path), (bytes) => read[index]?.push(bytes));
    await once(client, 'connect');
    clients.push(client);
  }
  await waitFor('all connections to be accepted', () => accepted.length === count);
  return {
    clients,
    accepted,
    read,
    async [Symbol.asyncDispose]() {
      for (const socket of [...clients, ...accepted]) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      await folder[Symbol.asyncDispose]();
    },
  };
}

const bytesOf = (seed: number, length: number): Buffer =>
  Buffer.alloc(length, Buffer.from([seed, seed + 1, 7]));

describe('reads into one buffer', () => {
  test('are not written over by those of other sockets, however long', async ({ expect }) => {
    await using sockets = await pairs(3);
    const { clients, accepted, read } = sockets;
    const sent = [bytesOf(1, 300_000), bytesOf(2, 20), bytesOf(3, 70_000)];
    for (const [index, socket] of accepted.entries()) socket.end(sent[index] ?? '');
    await Promise.all(clients.map((client) => once(client, 'end')));
    const whole = read.map((chunks, index) => Buffer.concat(chunks).equals(sent[index] ?? Buffer.of()));
    expect(whole).toEqual([true, true, true]);
  });

  // Node's own names for what the option `onread` sets: where they change, connections cost more again, and nothing else.
  test('can be had for sockets of a server on this Node, and be given back', async ({ expect }) => {
    await using sockets = await pairs(1);
    const [client] = sockets.clients;
    const [server] = sockets.accepted;
    if (client === undefined || server === undefined) throw new Error('no sockets');
    const taken: string[] = [];
    expect(
      takeReads(server, (bytes) => {
        if (taken.length === 2) return false;
        taken.push(bytes.toString());
        return true;
      }),
    ).toBe(true);
    for (const text of ['a', 'b']) {
      client.write(text);
      await waitFor(`${text} to be taken`, () => taken.at(-1) === text);
    }
    client.end('c');
    const chunks: Buffer[] = [];
    for await (const chunk of server) chunks.push(chunk as Buffer);
    expect([taken, Buffer.concat(chunks).toString()]).toEqual([['a', 'b'], 'c']);
  });
});
