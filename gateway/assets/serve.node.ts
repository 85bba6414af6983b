/**
 * Static assets, served by the gateway itself: no instance starts for them. Which requests are the code's is
 * decided as Workers do (https://developers.cloudflare.com/workers/static-assets/routing/worker-script/).
 */
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import { PlatformError, problemParts } from '#shared/errors.ts';
import type { AssetLibrary } from '#shared/assets/library.node.ts';
import { changed, type FlatHeaders } from '#shared/assets/representation.ts';
import { sendFile } from '#shared/assets/send.node.ts';
import type { AssetQuestion, Decision, HeaderChange, Site } from '#shared/assets/site.ts';
import type { Cors } from '#shared/contracts/cors.ts';
import { addCors, corsHeaders } from '../cors.ts';
import { NodeCall } from '../forward/node-call.node.ts';
import { PlainCall } from '../plain/call.node.ts';
import type { AssetAnswer, AssetPort, AssetsAbout, Call } from '../ports.ts';
import { hostName } from '../routing/host.ts';
import type { Target } from '../routing/router.ts';

/** Nothing in it: the code's turn. */
const TO_THE_CODE = undefined;

function questionOf(call: Call, standIns: boolean): AssetQuestion {
  const { method, scheme, host, target } = call;
  const { path, query } = target;
  return { method, scheme, host, hostname: hostName(host), path, query, standIns };
}

class Answer implements AssetAnswer {
  readonly #library: AssetLibrary;
  readonly #cors: Cors | undefined;
  readonly #decision: Decision;

  constructor(library: AssetLibrary, cors: Cors | undefined, decision: Decision) {
    this.#library = library;
    this.#cors = cors;
    this.#decision = decision;
  }

  get paths(): readonly string[] {
    const decision = this.#decision;
    return decision.kind === 'file' ? [decision.file.path, decision.address] : NO_PATHS;
  }

  send(call: Call, about: AssetsAbout): Response | Promise<Response> {
    const decision = this.#decision;
    switch (decision.kind) {
      case 'none':
      case 'missing':
        return this.#refuse(call, about, new PlatformError('not_found', 'no such file'));
      case 'method': {
        const response = this.#refuse(call, about, new PlatformError('method_not_allowed', call.method));
        response.headers.set('allow', 'GET, HEAD');
        return response;
      }
      case 'redirect':
        return addCors(redirect(decision), this.#cors, call);
      case 'file':
        return this.#file(decision, call, about);
    }
  }

  #refuse(call: Call, { requestId }: AssetsAbout, error: PlatformError): Response {
    return addCors(refusal(error, requestId, this.#decision.changes), this.#cors, call);
  }

  #file(
    decision: Extract<Decision, { kind: 'file' }>,
    call: Call,
    { account, meter, anyone }: AssetsAbout,
  ): Response | Promise<Response> {
    const outgoing = call instanceof NodeCall || call instanceof PlainCall ? call.response : undefined;
    if (outgoing === undefined) throw new PlatformError('bad_request', 'an upgrade of a file');
    const extra = this.#cors === undefined ? NO_HEADERS : lowered(corsHeaders(this.#cors, call));
    const sent = sendFile(this.#library, {
      account,
      request: call,
      outgoing,
      decision,
      anyone,
      mayCompress: true,
      extra,
    });
    if (sent instanceof Promise)
      return sent.then((bytes) => {
        meter.responseBytes += bytes;
        return RESPONSE_ALREADY_SENT;
      });
    meter.responseBytes += sent;
    return RESPONSE_ALREADY_SENT;
  }
}

const NO_HEADERS: FlatHeaders = [];
const NO_PATHS: readonly string[] = [];

function lowered(flat: FlatHeaders): FlatHeaders {
  return flat.map((part, index) => (index % 2 === 0 ? part.toLowerCase() : part));
}

function refusal(error: PlatformError, requestId: string, changes: readonly HeaderChange[]): Response {
  const { status, headers, body } = problemParts(error, requestId);
  const type = headers.get('content-type') ?? '';
  const all = headersOf(changed([...headers].flat(), changes));
  // The body stays what it is.
  all.set('content-type', type);
  return new Response(body, { status, headers: all });
}

function headersOf(flat: FlatHeaders): Headers {
  const headers = new Headers();
  for (let index = 0; index < flat.length; index += 2) headers.set(flat[index] ?? '', flat[index + 1] ?? '');
  return headers;
}

function redirect({ status, location, changes }: Extract<Decision, { kind: 'redirect' }>): Response {
  return new Response(null, { status, headers: headersOf(changed(['location', location], changes)) });
}

export function assetPort(library: AssetLibrary): AssetPort {
  const decide = (site: Site, call: Call, cors: Cors | undefined): AssetAnswer | undefined => {
    const { served } = site;
    // A WebSocket is for code; where there is none, nothing takes it.
    if (call instanceof NodeCall && call.response === undefined) {
      if (served.alone) throw new PlatformError('not_found', 'assets take no upgrade');
      return TO_THE_CODE;
    }
    if (site.workerFirst(call.target.path)) return TO_THE_CODE;
    const standIns = site.standInsBeforeCode(call.header('sec-fetch-mode'));
    const first = site.decide(questionOf(call, standIns));
    // Once it is the assets' turn, what stands in for files counts, too.
    const decision = first.kind === 'missing' && !standIns ? site.decide(questionOf(call, true)) : first;
    return decision.kind === 'none' && !served.alone ? TO_THE_CODE : new Answer(library, cors, decision);
  };
  return {
    plan: (call, { version, functionItem }: Target, served) => {
      // Whatever is asked for, the answer is known.
      if (served.config.runWorkerFirst === true && !served.alone) return TO_THE_CODE;
      const site = library.site(functionItem.account, version.id, served);
      return site instanceof Promise
        ? site.then((loaded) => decide(loaded, call, version.cors))
        : decide(site, call, version.cors);
    },
    changed: (items) => {
      for (const item of items)
        if (item.kind === 'version' && item.value?.assets !== undefined)
          void library.prefetch(item.value.id.slice(0, item.value.id.indexOf('/')), item.value.assets);
    },
  };
}
