/** What a debugger has told an instance that the next one must know as well. Pure but for its memory. */
export interface DebugMessage {
  readonly id?: number;
  readonly method?: string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly result?: Readonly<Record<string, unknown>>;
}

/** Debuggers count from 1; what is replayed counts from here. */
const OWN_IDS_FROM = 1_000_000_000;
export const ownId = (id: number): boolean => id >= OWN_IDS_FROM;

/** The last one holds. */
const SETTINGS = new Set([
  'Debugger.setAsyncCallStackDepth',
  'Debugger.setBlackboxPatterns',
  'Debugger.setBreakpointsActive',
  'Debugger.setPauseOnExceptions',
  'Runtime.setAsyncCallStackDepth',
]);
const SET_BREAKPOINT = 'Debugger.setBreakpointByUrl';
const MAIN = /(?:^|\/)index\.js$/;

export class DebugState {
  /** `Runtime.enable` and the like, in the order they came. */
  readonly #enabled = new Map<string, DebugMessage>();
  readonly #settings = new Map<string, DebugMessage>();
  readonly #breakpoints = new Map<string, DebugMessage>();
  /** Of breakpoints whose answer has not come yet. */
  readonly #asked = new Map<number, DebugMessage>();
  #paused = false;
  #nextId = OWN_IDS_FROM;

  fromClient(message: DebugMessage): void {
    const { id, method = '', params } = message;
    const [domain = '', verb] = method.split('.');
    if (verb === 'enable') this.#enabled.set(domain, message);
    else if (verb === 'disable') this.#enabled.delete(domain);
    else if (SETTINGS.has(method)) this.#settings.set(method, message);
    else if (method === SET_BREAKPOINT && id !== undefined) this.#asked.set(id, message);
    else if (method === 'Debugger.removeBreakpoint')
      this.#breakpoints.delete(String(params?.['breakpointId']));
  }

  fromInstance({ id, method, result }: DebugMessage): void {
    if (method === 'Debugger.paused') this.#paused = true;
    if (method === 'Debugger.resumed') this.#paused = false;
    const asked = id === undefined ? undefined : this.#asked.get(id);
    if (asked === undefined || id === undefined) return;
    this.#asked.delete(id);
    const breakpointId = result?.['breakpointId'];
    if (typeof breakpointId === 'string') this.#breakpoints.set(breakpointId, asked);
  }

  /** Events that the debugger would have had from an instance that ended in order. */
  gone(): readonly DebugMessage[] {
    const events: DebugMessage[] = [];
    if (this.#paused) events.push({ method: 'Debugger.resumed', params: {} });
    this.#paused = false;
    if (this.#enabled.has('Runtime')) events.push({ method: 'Runtime.executionContextsCleared', params: {} });
    return events;
  }

  /** Commands for a new instance. */
  replay(): readonly DebugMessage[] {
    return [...this.#enabled.values(), ...this.#settings.values(), ...this.#breakpoints.values()].map(
      ({ method, params }) => {
        this.#nextId += 1;
        return {
          id: this.#nextId,
          ...(method === undefined ? {} : { method }),
          ...(params === undefined ? {} : { params }),
        };
      },
    );
  }

  /** The map travels beside the code, not in it, so the debugger is told of it here. */
  withSourceMap(message: DebugMessage, map: Uint8Array): DebugMessage {
    const { params } = message;
    if (params === undefined || !MAIN.test(String(params['url'])) || Boolean(params['sourceMapURL']))
      return message;
    const sourceMapURL = `data:application/json;base64,${Buffer.from(map).toString('base64')}`;
    return { ...message, params: { ...params, sourceMapURL } };
  }
}
