/**
 * The encoder against workerd itself: `workerd compile --config-only` reads the same config as text, and
 * both messages must hold the same values. (Their bytes may differ in layout: allocation order is free.)
 */
import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Message } from 'capnp-es';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { tempFolder, type TempFolder } from '#shared/testing/temp.node.ts';
import { findWorkerd } from '../sandbox/binaries.ts';
import type { WorkerdConfig } from './config.ts';
import { encodeWorkerdConfig } from './encode.ts';
import { Config, Service_Which, Worker_Binding_Which, Worker_Module_Which } from './generated/workerd.js';

let folder: TempFolder;
beforeAll(async () => {
  folder = await tempFolder();
});
afterAll(() => folder[Symbol.asyncDispose]());

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

const CONFIG: WorkerdConfig = {
  services: [
    {
      name: 'main',
      kind: 'worker',
      modules: [
        { name: 'a.js', type: 'esm', content: bytes('export default "ä";') },
        { name: 'b.cjs', type: 'commonjs', content: bytes('module.exports = 1;') },
        { name: 'c.txt', type: 'text', content: bytes('text') },
        { name: 'd.bin', type: 'data', content: new Uint8Array([0, 1, 255]) },
        { name: 'e.json', type: 'json', content: bytes('{"a":1}') },
        { name: 'f.wasm', type: 'wasm', content: new Uint8Array([0, 97, 115, 109]) },
      ],
      compatibilityDate: '2026-11-01',
      compatibilityFlags: ['nodejs_als'],
      bindings: [
        { name: 'T', kind: 'text', text: 'v' },
        { name: 'J', kind: 'json', json: '[1]' },
      ],
      globalOutbound: 'internet',
    },
    { name: 'internet', kind: 'network', allow: [] },
  ],
  sockets: [{ name: 'instance', service: 'main', cfBlobHeader: 'isoplane-cf' }],
  v8Flags: ['--max-heap-size=128'],
};

const TEXT = `
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = (
      modules = [
        (name = "a.js", esModule = "export default \\"ä\\";"),
        (name = "b.cjs", commonJsModule = "module.exports = 1;"),
        (name = "c.txt", text = "text"),
        (name = "d.bin", data = 0x"00 01 ff"),
        (name = "e.json", json = "{\\"a\\":1}"),
        (name = "f.wasm", wasm = 0x"00 61 73 6d")
      ],
      compatibilityDate = "2026-11-01",
      compatibilityFlags = ["nodejs_als"],
      bindings = [(name = "T", text = "v"), (name = "J", json = "[1]")],
      globalOutbound = (name = "internet")
    )),
    (name = "internet", network = (allow = []))
  ],
  sockets = [(name = "instance", http = (cfBlobHeader = "isoplane-cf"), service = (name = "main"))],
  v8Flags = ["--max-heap-size=128"]
);
`;

/** Everything of a message that our model can say. */
function describeMessage(encoded: Uint8Array): unknown {
  const message = new Message(encoded, false);
  const root = message.getRoot(Config);
  return {
    services: root.services.toArray().map((service) => {
      if (service.which() === Service_Which.NETWORK)
        return { name: service.name, allow: service.network.allow.toArray() };
      const { worker } = service;
      return {
        name: service.name,
        modules: worker.modules.toArray().map((module) => {
          const kind = module.which();
          const value =
            kind === Worker_Module_Which.ES_MODULE
              ? module.esModule
              : kind === Worker_Module_Which.COMMON_JS_MODULE
                ? module.commonJsModule
                : kind === Worker_Module_Which.TEXT
                  ? module.text
                  : kind === Worker_Module_Which.JSON
                    ? module.json
                    : kind === Worker_Module_Which.DATA
                      ? [...module.data.toUint8Array()]
                      : [...module.wasm.toUint8Array()];
          return { name: module.name, kind, value };
        }),
        date: worker.compatibilityDate,
        flags: worker.compatibilityFlags.toArray(),
        bindings: worker.bindings.toArray().map((binding) => ({
          name: binding.name,
          value: binding.which() === Worker_Binding_Which.TEXT ? binding.text : binding.json,
        })),
        outbound: worker.globalOutbound.name,
      };
    }),
    sockets: root.sockets
      .toArray()
      .map((socket) => ({ name: socket.name, service: socket.service.name, cf: socket.http.cfBlobHeader })),
    v8Flags: root.v8Flags.toArray(),
  };
}

describe('encodeWorkerdConfig()', () => {
  test('says the same as workerd says of the same config in text', async ({ expect }) => {
    const file = join(folder.path, 'config.capnp');
    await writeFile(file, TEXT);
    const packages = dirname(dirname(createRequire(import.meta.url).resolve('workerd/package.json')));
    const golden = execFileSync(await findWorkerd(), ['compile', file, '--config-only', `-I${packages}`]);
    expect(describeMessage(encodeWorkerdConfig(CONFIG))).toEqual(describeMessage(golden));
  });

  test('takes a module of 32 MiB', ({ expect }) => {
    const content = new Uint8Array(32 * 1_048_576).fill(32);
    const [main, internet] = CONFIG.services;
    if (main?.kind !== 'worker' || internet === undefined) throw new Error('the config changed');
    const large = {
      ...CONFIG,
      services: [{ ...main, modules: [{ name: 'a.js', type: 'data' as const, content }] }, internet],
    };
    const encoded = encodeWorkerdConfig(large);
    expect(encoded.byteLength).toBeGreaterThan(content.byteLength);
    expect(encoded.byteLength).toBeLessThan(content.byteLength * 1.5);
  });
});
