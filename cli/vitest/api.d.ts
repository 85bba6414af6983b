/** What `isoplane/vitest` exports, for tests written in TypeScript. */
export interface FunctionOptions {
  /** Beside those of the configuration, which they replace. */
  readonly vars?: Readonly<Record<string, unknown>> | undefined;
  /** Values of the secrets that the configuration lists, by their names in `env`. */
  readonly secrets?: Readonly<Record<string, string>> | undefined;
  /** `env.NAME` of a wrangler file. */
  readonly environment?: string | undefined;
  /** Folders of functions that this one is bound to; those beside it are found without. */
  readonly services?: readonly string[] | undefined;
  /** Folders of layers by name; default: the folder of that name in the project. */
  readonly layers?: Readonly<Record<string, string>> | undefined;
  /** Answers what the functions request from the network. Default: the network does; egress rules do not hold here. */
  readonly outbound?: ((request: Request) => Response | Promise<Response>) | undefined;
}

export interface RequestOptions extends RequestInit {
  /** Whom the gateway let in: nobody is asked for a signature or a token here. */
  readonly caller?: {
    readonly principal?: string;
    readonly claims?: Readonly<Record<string, unknown>>;
  };
}

export interface TestFunction<Env, Self = unknown> extends AsyncDisposable {
  /** The bindings of the function, as it sees them: KV, other functions, variables, secrets. */
  readonly env: Env;
  /** Calls the function. A path is enough: its host is `NAME.localhost`. Redirects are not followed. */
  fetch(input: string | URL | Request, init?: RequestOptions): Promise<Response>;
  /** Its default export, as functions that are bound to it have it: `fetch` and methods. */
  readonly self: Self;
  /** The classes that its configuration lists in `entrypoints`. */
  readonly entrypoints: Readonly<Record<string, unknown>>;
  close(): Promise<void>;
}

/**
 * Starts the function of a project in workerd, bundled as for a deployment, with storage of its own.
 *
 * @param target - project folder or configuration file; default: the working folder.
 */
export function startFunction<Env = Record<string, unknown>, Self = unknown>(
  target?: string,
  options?: FunctionOptions,
): Promise<TestFunction<Env, Self>>;
