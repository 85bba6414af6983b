/** Binary form of a workerd config: one Cap'n Proto message, encoded by capnp-es from workerd's schema. */
import { Message } from 'capnp-es';
import type { ServiceRef, WorkerdBinding, WorkerdConfig, WorkerdModule, WorkerdService } from './config.ts';
import {
  Config,
  HttpOptions_Style,
  type ExternalServer,
  type Service,
  type ServiceDesignator,
  type Worker,
  type Worker_Binding,
  type Worker_Module,
} from './generated/workerd.js';

const decoder = new TextDecoder();

function encodeModule(target: Worker_Module, module: WorkerdModule): void {
  target.name = module.name;
  switch (module.type) {
    case 'esm':
      target.esModule = decoder.decode(module.content);
      break;
    case 'commonjs':
      target.commonJsModule = decoder.decode(module.content);
      break;
    case 'text':
      target.text = decoder.decode(module.content);
      break;
    case 'json':
      target.json = decoder.decode(module.content);
      break;
    case 'data':
      target._initData(module.content.byteLength).copyBuffer(module.content);
      break;
    case 'wasm':
      target._initWasm(module.content.byteLength).copyBuffer(module.content);
      break;
  }
}

function encodeBinding(target: Worker_Binding, binding: WorkerdBinding): void {
  target.name = binding.name;
  switch (binding.kind) {
    case 'text':
      target.text = binding.text;
      break;
    case 'json':
      target.json = binding.json;
      break;
    case 'service':
      encodeRef(target._initService(), binding);
      break;
    case 'kvNamespace':
      encodeRef(target._initKvNamespace(), binding);
      break;
    case 'wrapped': {
      const wrapped = target._initWrapped();
      wrapped.moduleName = binding.module;
      encodeBinding(wrapped._initInnerBindings(1).get(0), {
        name: 'agent',
        kind: 'service',
        ...binding.agent,
      });
      break;
    }
  }
}

function encodeRef(target: ServiceDesignator, { service, entrypoint }: ServiceRef): void {
  target.name = service;
  if (entrypoint !== undefined) target.entrypoint = entrypoint;
}

/** Relative to the process' working folder, which is the slot's. */
const socketAddress = (socketName: string): string => `unix:${socketName}`;

function encodeExternal(
  target: ExternalServer,
  service: Extract<WorkerdService, { kind: 'external' }>,
): void {
  target.address = socketAddress(service.socketName);
  const http = target._initHttp();
  http.style = service.style === 'proxy' ? HttpOptions_Style.PROXY : HttpOptions_Style.HOST;
  if (service.schemeHeader !== undefined) http.forwardedProtoHeader = service.schemeHeader;
  if (service.capnpConnectHost !== undefined) http.capnpConnectHost = service.capnpConnectHost;
}

function encodeTexts(target: { set(index: number, value: string): void }, texts: readonly string[]): void {
  for (const [index, text] of texts.entries()) target.set(index, text);
}

function encodeWorker(target: Worker, worker: Extract<WorkerdService, { kind: 'worker' }>): void {
  const modules = target._initModules(worker.modules.length);
  for (const [index, module] of worker.modules.entries()) encodeModule(modules.get(index), module);
  target.compatibilityDate = worker.compatibilityDate;
  encodeTexts(target._initCompatibilityFlags(worker.compatibilityFlags.length), worker.compatibilityFlags);
  const bindings = target._initBindings(worker.bindings.length);
  for (const [index, binding] of worker.bindings.entries()) encodeBinding(bindings.get(index), binding);
  target._initGlobalOutbound().name = worker.globalOutbound;
  if (worker.cacheApiOutbound !== undefined) target._initCacheApiOutbound().name = worker.cacheApiOutbound;
}

function encodeService(target: Service, service: WorkerdService): void {
  target.name = service.name;
  switch (service.kind) {
    case 'worker':
      encodeWorker(target._initWorker(), service);
      break;
    case 'network':
      encodeTexts(target._initNetwork()._initAllow(service.allow.length), service.allow);
      break;
    case 'external':
      encodeExternal(target._initExternal(), service);
      break;
  }
}

export function encodeWorkerdConfig(config: WorkerdConfig): Uint8Array {
  const message = new Message();
  const root = message.initRoot(Config);
  const services = root._initServices(config.services.length);
  for (const [index, service] of config.services.entries()) encodeService(services.get(index), service);
  const sockets = root._initSockets(config.sockets.length);
  for (const [index, socket] of config.sockets.entries()) {
    const target = sockets.get(index);
    target.name = socket.name;
    if (socket.socketName !== undefined) target.address = socketAddress(socket.socketName);
    encodeRef(target._initService(), socket);
    const http = target._initHttp();
    http.cfBlobHeader = socket.cfBlobHeader;
    if (socket.schemeHeader !== undefined) http.forwardedProtoHeader = socket.schemeHeader;
    if (socket.capnpConnectHost !== undefined) http.capnpConnectHost = socket.capnpConnectHost;
  }
  const inner = config.extension ?? [];
  const extension = root._initExtensions(1).get(0)._initModules(inner.length);
  for (const [index, { name, internal, source }] of inner.entries()) {
    const target = extension.get(index);
    target.name = name;
    target.internal = internal;
    target.esModule = source;
  }
  encodeTexts(root._initV8Flags(config.v8Flags.length), config.v8Flags);
  return new Uint8Array(message.toArrayBuffer());
}
