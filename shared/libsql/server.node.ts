/**
 * A libSQL server over HTTP or a WebSocket, made safe to depend on: every call ends, and what it ended with says
 * whether SQL answered or the server did not.
 *
 * The client itself waits for ever for a server that has stopped answering, and throws whatever its transport threw.
 */
import { createClient, LibsqlError, type Client, type InStatement, type ResultSet } from '@libsql/client';
import { transportReason } from '../http/fetch-failure.ts';

/**
 * `sql`: the database refused the statement. `stolen`: the transaction was rolled back by the server, because it was
 * open for too long (5 s by default) while somebody else wanted to write. `refused`: the server does not accept the
 * token. `unreachable`: no answer, or one that is not a libSQL server's; what was sent may or may not have been done.
 */
type FailureKind = 'sql' | 'stolen' | 'refused' | 'unreachable';

export class ServerFailure extends Error {
  override readonly name = 'ServerFailure';
  readonly kind: FailureKind;
  /** Of SQLite, for `sql`. */
  readonly code: string;

  constructor(kind: FailureKind, code: string, message: string) {
    super(message);
    this.kind = kind;
    this.code = code;
  }
}

/** Anywhere in the chain of causes: Drizzle wraps what it is thrown. */
export function serverFailure(thrown: unknown): ServerFailure | undefined {
  let current: unknown = thrown;
  for (let depth = 0; depth < 5 && current instanceof Error; depth += 1) {
    if (current instanceof ServerFailure) return current;
    current = current.cause;
  }
  return undefined;
}

/** The texts of statements and of their parameters, which may hold secrets, are left out. */
export function failureOf(thrown: unknown): ServerFailure {
  if (thrown instanceof ServerFailure) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  const code = thrown instanceof LibsqlError ? thrown.code : '';
  if (
    code === 'TRANSACTION_TIMEOUT' ||
    code === 'TRANSACTION_CLOSED' ||
    /no transaction is active/.test(message)
  )
    return new ServerFailure('stolen', code, 'the server ended a transaction that took too long');
  if (/^SQL(?:ITE)?_/.test(code)) return new ServerFailure('sql', code, `the database refused (${code})`);
  if (/(?:status|response:?) (?:401|403)\b/.test(message) || code.startsWith('AUTH_'))
    return new ServerFailure('refused', code, 'the server does not accept the token');
  return new ServerFailure('unreachable', code, transportReason(thrown));
}

export interface LibsqlServerOptions {
  readonly url: string;
  readonly token: string | undefined;
  /**
   * Of one call. Longer than the 5 s for which the server leaves a writer alone that is gone: a call that waits for
   * such a one succeeds.
   */
  readonly timeoutMs: number;
}

const REFUSAL_MS_MAX = 2_000;
/** By the server, and not in the way that the protocol has for it. */
const CLOSED = /closed with code 1006/;

function clientOf({ url, token, timeoutMs }: LibsqlServerOptions): Client {
  return createClient({
    url,
    ...(token === undefined ? {} : { authToken: token }),
    // Aborted, so that a server that hangs does not keep its connections either.
    fetch: (request: Request) => fetch(request, { signal: AbortSignal.timeout(timeoutMs) }),
  });
}

/** What a transaction offers; closing it without a commit rolls back. */
export interface ServerTransaction {
  execute(statement: InStatement): Promise<ResultSet>;
  batch(statements: InStatement[]): Promise<ResultSet[]>;
  commit(): Promise<void>;
  close(): void;
}

export class LibsqlServer {
  /** For operators. */
  readonly name: string;
  readonly #client: Client;
  readonly #options: LibsqlServerOptions;
  readonly #isSocket: boolean;

  constructor(options: LibsqlServerOptions) {
    const { protocol, host } = new URL(options.url);
    this.#options = options;
    this.name = `${protocol}//${host}`;
    this.#isSocket = /^wss?:/.test(protocol);
    this.#client = clientOf(options);
  }

  execute(statement: InStatement): Promise<ResultSet> {
    return this.#bounded(() => this.#client.execute(statement));
  }

  /** In one transaction. */
  batch(statements: InStatement[], mode: 'read' | 'write'): Promise<ResultSet[]> {
    return this.#bounded(() => this.#client.batch(statements, mode));
  }

  async transaction(mode: 'read' | 'write'): Promise<ServerTransaction> {
    const tx = await this.#bounded(() => this.#client.transaction(mode));
    return {
      execute: (statement) => this.#bounded(() => tx.execute(statement)),
      batch: (statements) => this.#bounded(() => tx.batch(statements)),
      commit: () => this.#bounded(() => tx.commit()),
      close: () => tx.close(),
    };
  }

  close(): void {
    this.#client.close();
  }

  /** @throws {ServerFailure} */
  async #bounded<T>(call: () => Promise<T>): Promise<T> {
    const { timeoutMs } = this.#options;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        // A WebSocket has no time-out: whatever else waits on it has waited for the same server.
        if (this.#isSocket) this.#client.reconnect();
        reject(new ServerFailure('unreachable', '', `no answer within ${timeoutMs} ms`));
      }, timeoutMs);
    });
    try {
      return await Promise.race([call(), late]);
    } catch (thrown) {
      const failure = failureOf(thrown);
      if (failure.kind === 'unreachable' && this.#isSocket && CLOSED.test(failure.message))
        throw (await this.#refusal()) ?? failure;
      throw failure;
    } finally {
      clearTimeout(timer);
    }
  }

  /** A server closes the WebSocket of who may not do something, without a word; over HTTP it says so. */
  async #refusal(): Promise<ServerFailure | undefined> {
    const { url, token } = this.#options;
    const timeoutMs = Math.min(REFUSAL_MS_MAX, this.#options.timeoutMs);
    const plain = clientOf({ url: url.replace(/^ws/, 'http'), token, timeoutMs });
    try {
      // What it writes to need not be there: who may not write is not let that far.
      await plain.execute('DELETE FROM not_there');
    } catch (thrown) {
      const failure = failureOf(thrown);
      if (failure.kind === 'refused') return failure;
    } finally {
      plain.close();
    }
    return undefined;
  }
}
