/** OpenAPI 3.1 from the operations. Schemas become JSON Schema by zod's own converter, which knows `z.json()`. */
import { z } from 'zod';
import { ERRORS } from '#shared/errors.ts';
import type { Operation, Reply } from './operation.ts';

type JsonSchema = Record<string, unknown>;

/** The only recursive schema is "any JSON value"; inside an OpenAPI document its local reference would dangle. */
function withoutLocalDefinitions(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutLocalDefinitions);
  if (typeof value !== 'object' || value === null) return value;
  if ('$ref' in value) return { description: 'Any JSON value.' };
  return Object.fromEntries(
    Object.entries(value)
      .filter(([name]) => name !== '$defs' && name !== '$schema')
      .map(([name, member]) => [name, withoutLocalDefinitions(member)]),
  );
}

function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): JsonSchema {
  return withoutLocalDefinitions(z.toJSONSchema(schema, { io, unrepresentable: 'any' })) as JsonSchema;
}

const BINARY: JsonSchema = { type: 'string', format: 'binary' };

function content(reply: Reply): { readonly content?: Record<string, { schema: JsonSchema }> } {
  if (reply === 'empty') return {};
  if (reply === 'bytes') return { content: { 'application/octet-stream': { schema: BINARY } } };
  if (reply === 'metrics') return { content: { 'text/plain': { schema: { type: 'string' } } } };
  if (reply === 'ndjson') return { content: { 'application/x-ndjson': { schema: { type: 'string' } } } };
  return { content: { 'application/json': { schema: jsonSchema(reply, 'output') } } };
}

function parameters(operation: Operation): JsonSchema[] {
  const of = (schema: z.ZodObject, place: 'path' | 'query'): JsonSchema[] => {
    const described = jsonSchema(schema, 'input');
    const properties = (described['properties'] ?? {}) as Record<string, JsonSchema>;
    const required = new Set((described['required'] ?? []) as string[]);
    return Object.entries(properties).map(([name, parameter]) => ({
      name,
      in: place,
      required: place === 'path' || required.has(name),
      schema: parameter,
    }));
  };
  return [...of(operation.params, 'path'), ...of(operation.query, 'query')];
}

function requestBody(operation: Operation): JsonSchema | undefined {
  if (operation.body !== undefined)
    return { content: { 'application/json': { schema: jsonSchema(operation.body, 'input') } } };
  if (operation.upload === undefined) return undefined;
  const schema = {
    type: 'object',
    required: ['metadata'],
    properties: { metadata: jsonSchema(operation.upload, 'input') },
    description:
      'Also one part `module:NAME` for each module, and optionally `map:NAME` with its source map.',
    additionalProperties: BINARY,
  };
  return { required: true, content: { 'multipart/form-data': { schema } } };
}

/** `{path+}` is ours; OpenAPI knows `{path}`. */
function documentedPath(path: string): string {
  return path.replace('+}', '}');
}

const PROBLEM: JsonSchema = {
  type: 'object',
  description: 'RFC 9457 problem document.',
  required: ['type', 'title', 'status', 'code'],
  properties: {
    type: { type: 'string' },
    title: { type: 'string' },
    status: { type: 'integer' },
    code: { type: 'string', enum: Object.keys(ERRORS) },
    detail: { type: 'string' },
    requestId: { type: 'string' },
    retryAfterMs: { type: 'number' },
    problems: {
      type: 'array',
      items: { type: 'object', properties: { path: { type: 'string' }, message: { type: 'string' } } },
    },
  },
};

const FAILED: JsonSchema = {
  description: 'Refused or failed.',
  content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
};

const SECURITY_SCHEMES = {
  bearer: { type: 'http', scheme: 'bearer' },
  signature: {
    type: 'apiKey',
    in: 'header',
    name: 'Signature',
    description: 'RFC 9421 HTTP message signature with Signature-Input, and Content-Digest for bodies.',
  },
};

function described(operation: Operation): JsonSchema {
  const body = requestBody(operation);
  const replies = Object.entries(operation.replies).map(
    ([status, reply]) => [status, { description: 'Done.', ...content(reply) }] as const,
  );
  return {
    operationId: operation.id,
    summary: operation.summary,
    ...(operation.deprecated === true ? { deprecated: true } : {}),
    security: [{ signature: [] }, { bearer: [] }],
    parameters: parameters(operation),
    ...(body === undefined ? {} : { requestBody: body }),
    responses: { ...Object.fromEntries(replies), default: FAILED },
  };
}

export function openApiDocument(operations: readonly Operation[]): JsonSchema {
  const paths: Record<string, JsonSchema> = {};
  for (const operation of operations) {
    const path = documentedPath(operation.path);
    paths[path] = { ...paths[path], [operation.method]: described(operation) };
  }
  return {
    openapi: '3.1.0',
    info: { title: 'Isoplane control API', version: '1' },
    components: { schemas: { Problem: PROBLEM }, securitySchemes: SECURITY_SCHEMES },
    paths,
  };
}
