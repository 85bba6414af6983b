/**
 * One operation of the API: what it accepts, who may call it, what it answers. The same value validates
 * requests, checks answers and documents both, so the three cannot drift apart.
 */
import { z } from 'zod';
import { ROLES, type Role } from '#shared/contracts/feed.ts';
import { PlatformError } from '#shared/errors.ts';
import {
  accountNameSchema,
  aliasNameSchema,
  functionNameSchema,
  layerNameSchema,
  secretNameSchema,
  type AccountName,
  type FunctionName,
} from '#shared/ids.ts';
import type { Principal } from '../auth/authenticate.ts';
import type { FunctionRef } from '../db/functions.ts';
import type { Upload } from '../publish/upload.ts';
import type { ApiDeps } from './deps.ts';

/**
 * `self`: every key, about itself. `observe`: observers and owners. `read` and `deploy`: deployers and owners;
 * `own`: owners.
 */
type Access = 'self' | 'observe' | 'read' | 'deploy' | 'own';

const GRANTS: Record<Role, readonly Access[]> = {
  owner: ['self', 'observe', 'read', 'deploy', 'own'],
  deployer: ['self', 'read', 'deploy'],
  invoker: ['self'],
  observer: ['self', 'observe'],
};

type Method = 'get' | 'post' | 'put' | 'patch' | 'delete';
export type Reply = z.ZodType | 'empty' | 'bytes' | 'ndjson' | 'metrics';

export interface Operation<
  P extends z.ZodObject = z.ZodObject,
  Q extends z.ZodObject = z.ZodObject,
  B extends z.ZodType = z.ZodType,
> {
  readonly id: string;
  readonly method: Method;
  /** OpenAPI form: `/v1/accounts/{account}`. `{path+}` takes the rest, slashes included. */
  readonly path: string;
  readonly summary: string;
  readonly access: Access;
  /** Also for keys that are limited to functions, though it names none: it shows nothing that functions hold. */
  readonly limited?: true;
  /** Owners of account `default` may do it in every account: how a new account gets its first key. */
  readonly operator?: true;
  /** About the platform, not about an account: for keys of account `default` alone. */
  readonly operatorOnly?: true;
  readonly params: P;
  readonly query: Q;
  /** JSON body. A missing body counts as `{}`. */
  readonly body?: B;
  /** Multipart body: schema of its `metadata` part, for the documentation. */
  readonly upload?: z.ZodType;
  readonly replies: Readonly<Record<number, Reply>>;
  /** Documented as such: it answers as ever, and new clients have something better. */
  readonly deprecated?: true;
}

interface Call<P, Q, B> {
  readonly principal: Principal;
  readonly params: P;
  readonly query: Q;
  readonly body: B;
  /** Fires when the client goes away. */
  readonly signal: AbortSignal;
  /** Reads the multipart body; the signature is complete only after it. */
  readonly upload: () => Promise<Upload>;
}

export interface Answer {
  readonly status: number;
  /** Absent for `empty`; a stream or bytes for `ndjson` and `bytes`. */
  readonly body?: unknown;
}

/** An operation and what carries it out. `call` has been checked against the operation's schemas. */
export interface Route {
  readonly operation: Operation;
  readonly handle: (deps: ApiDeps, call: Call<never, never, never>) => Promise<Answer>;
}

/** Keeps the types of the operation's parts for its handler. */
export function route<P extends z.ZodObject, Q extends z.ZodObject, B extends z.ZodType>(
  operation: Operation<P, Q, B>,
  handle: (deps: ApiDeps, call: Call<z.infer<P>, z.infer<Q>, z.infer<B>>) => Promise<Answer>,
): Route {
  return { operation, handle };
}

const OPERATOR_ACCOUNT: AccountName = accountNameSchema.parse('default');

export function isOperator(principal: Principal): boolean {
  return (
    principal.account === OPERATOR_ACCOUNT && principal.role === 'owner' && principal.functions === undefined
  );
}

/**
 * Pure. @throws {PlatformError} `account_not_found` for another account, whether it exists or not;
 * `forbidden` when the role or the key's list of functions does not allow it.
 */
export function authorize(
  principal: Principal,
  operation: Pick<Operation, 'id' | 'access' | 'operator' | 'operatorOnly' | 'limited'>,
  params: Readonly<Record<string, unknown>>,
): void {
  const account = params['account'];
  const foreign = account !== undefined && account !== principal.account;
  if (foreign && !(operation.operator === true && isOperator(principal)))
    throw new PlatformError('account_not_found', `${principal.keyId} asked for another account`);
  if (!GRANTS[principal.role].includes(operation.access))
    throw new PlatformError('forbidden', `${principal.role} ${principal.keyId} may not ${operation.id}`, {
      publicDetail: `The role of this key, ${principal.role}, is not enough: it takes ${rolesFor(operation.access)}.`,
    });
  if (operation.operatorOnly === true && principal.account !== OPERATOR_ACCOUNT)
    throw new PlatformError('forbidden', `${principal.keyId} is not the operator's`, {
      publicDetail: 'This is for keys of the account of the operator.',
    });
  if (principal.functions === undefined) return;
  const name = params['function'];
  const allowed =
    name === undefined
      ? operation.limited === true || operation.access === 'self'
      : principal.functions.some((functionName) => functionName === name);
  if (!allowed)
    throw new PlatformError('forbidden', `${principal.keyId} is limited to other functions`, {
      publicDetail: `This key is limited to ${listed(principal.functions)}; ${
        typeof name !== 'string'
          ? 'this is about the whole account, and takes a key that is not limited.'
          : `for ${name} it takes a key that names it, or one that is not limited.`
      }`,
    });
}

const rolesFor = (access: Access): string =>
  ROLES.filter((role) => GRANTS[role].includes(access)).join(' or ');

const NAMES_SHOWN_MAX = 5;

function listed(names: readonly string[]): string {
  const more = names.length - NAMES_SHOWN_MAX;
  return `${names.slice(0, NAMES_SHOWN_MAX).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

export function maySee(principal: Principal, functionName: FunctionName): boolean {
  return principal.functions === undefined || principal.functions.includes(functionName);
}

// Parts of paths and queries that many operations share.

export const inAccount = z.object({ account: accountNameSchema });
export const inFunction = inAccount.extend({ function: functionNameSchema });
export const inVersion = inFunction.extend({ number: z.coerce.number().int().min(1) });
export const inAlias = inFunction.extend({ alias: aliasNameSchema });
export const inLayer = inAccount.extend({ layer: layerNameSchema });
export const inLayerVersion = inLayer.extend({ number: z.coerce.number().int().min(1) });
export const inSecret = inAccount.extend({ secret: secretNameSchema });
export const withId = inAccount.extend({ id: z.string().min(1).max(100) });
export const nowhere = z.object({});

export const FUNCTION_PATH = '/v1/accounts/{account}/functions/{function}';

export function functionRef(params: z.infer<typeof inFunction>): FunctionRef {
  return { account: params.account, functionName: params.function };
}

const PAGE_MAX = 200;
const PAGE_DEFAULT = 50;
export const pageQuery = z.object({
  limit: z.coerce.number().int().min(1).max(PAGE_MAX).default(PAGE_DEFAULT),
  cursor: z.string().max(2_000).optional(),
});
export const noQuery = z.object({});
