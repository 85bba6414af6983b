/**
 * What the gateway's core needs from its host runtime. Node (server.node.ts) and workerd (worker.ts) implement
 * it; nothing here names either.
 */
import type { ServedAssets } from '#shared/contracts/assets.ts';
import type { FeedItem } from '#shared/contracts/feed.ts';
import type { PlatformError } from '#shared/errors.ts';
import type { Lease } from '#shared/contracts/leases.ts';
import type { RequestTarget } from '#shared/http/target.ts';
import type { Answered, CarryRules, Unanswered } from '#shared/carry/ports.ts';
import type { Meter } from '#shared/usage/meter.ts';
import type { Target } from './routing/router.ts';

export type BodyRead =
  | { readonly kind: 'body'; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: 'too_large' | 'gone' }
  /** It came too slowly, or the share of the account is used up. */
  | { readonly kind: 'failed'; readonly error: PlatformError };

export interface BodyWanted {
  /** Whose share holds it. */
  readonly account: string;
  /** More is refused. */
  readonly bytesMax: number;
}

/** One request of a client. The head is read in place: building Request and Headers objects costs more than routing. */
export interface Call {
  readonly method: string;
  readonly scheme: 'http' | 'https';
  /** Host header as the client sent it, or what a trusted proxy says that it was. */
  readonly host: string;
  readonly target: RequestTarget;
  /** It asks for a WebSocket. */
  readonly upgrades: boolean;
  /** Bytes of the body; 0 when there is none, undefined when the client does not say. */
  readonly bodyBytes: number | undefined;
  /** All lines of a field, joined by `, ` (Cookie: `; `); undefined when absent. `name` is lower case. */
  header(name: string): string | undefined;
  /** Reads the whole body and keeps it, so that it can still be sent. May be asked again. */
  buffer(wanted: BodyWanted): Promise<BodyRead>;
  /** The request is over: gives back what its body holds. */
  close(): void;
}

/** A request that is carried to an instance, at which it may have to wait for a place. */
export interface InstanceCall extends Call {
  /** Address of the client; undefined where the runtime does not tell. */
  readonly client: string | undefined;
  /** True once the client has gone. */
  readonly gone: boolean;
  /**
   * Waits until the body is here or flows: all of it, or its first `enough` bytes. What is slower than that
   * must not hold an instance.
   */
  ready(wanted: BodyWanted, enough: number): Promise<Exclude<BodyRead, { kind: 'body' }> | undefined>;
  /** Runs `listener` when the client goes before it was answered. At most one listener at a time. */
  onGone(listener: (() => void) | undefined): void;
  /** Sends the request to an instance and the response to the client; settles when both are over. */
  forward(plan: ForwardPlan): Promise<ForwardOutcome>;
}

export interface AssetsAbout {
  readonly account: string;
  readonly requestId: string;
  readonly meter: Meter;
  /** Nobody was asked who they are: whoever is on the way may keep the answer. */
  readonly anyone: boolean;
}

/** Static assets answer a request: no instance is asked. */
export interface AssetAnswer {
  /** Of the file that is sent, decoded: its own path and its address. Both may have rules about who reads them. */
  readonly paths: readonly string[];
  send(call: Call, about: AssetsAbout): Response | Promise<Response>;
}

export interface AssetPort {
  /** Undefined: the code answers. @throws {PlatformError} `asset_unavailable`, or what a share refuses with. */
  plan(
    call: Call,
    target: Target,
    served: ServedAssets,
  ): AssetAnswer | undefined | Promise<AssetAnswer | undefined>;
  /** The feed has brought these: their manifests are fetched before they are needed. */
  changed(items: readonly FeedItem[]): void;
}

export interface ForwardPlan extends CarryRules {
  readonly lease: Lease;
  /** Names and values in turn, added to the client's own headers. */
  readonly requestHeaders: readonly string[];
  /** Lower-case names of the client's headers that must not pass. */
  readonly requestDropped: ReadonlySet<string> | undefined;
  /** Instead of the client's own, when part of it must not pass. */
  readonly query: string | undefined;
  /** Subprotocol of a WebSocket that is answered when the instance chooses none. */
  readonly subprotocol: string | undefined;
}

/** `response`: what the app returns. */
export type CallAnswered = Answered & { readonly response: Response };

export type ForwardOutcome = CallAnswered | Unanswered;
