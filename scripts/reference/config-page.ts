/** docs/config.md and isoplane.schema.json: the project file's schema joined with the comments in its source. */
import { z } from 'zod';
import { LIMITS } from '#shared/limits.ts';
import { projectFileSchema } from '#cli/project/schema.ts';
import { describeConstant, type Described } from './comments.ts';

interface JsonSchema {
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly items?: JsonSchema;
  readonly additionalProperties?: JsonSchema | boolean;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly default?: unknown;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly required?: readonly string[];
  readonly description?: string;
  readonly examples?: readonly unknown[];
  readonly [member: string]: unknown;
}

/** Every field with its comment as `description` and its examples. */
export function projectSchema(): JsonSchema {
  const bare = z.toJSONSchema(projectFileSchema, { io: 'input', unrepresentable: 'any' }) as JsonSchema;
  const described = describeConstant('cli/project/schema.ts', 'projectFileSchema');
  return {
    ...join(bare, described),
    title: 'isoplane.jsonc',
    allowTrailingCommas: true,
    allowComments: true,
  };
}

function join(schema: JsonSchema, described: Described): JsonSchema {
  const variants = described.variants;
  const joined = (list: readonly JsonSchema[]): JsonSchema[] =>
    list.map((each, index) => join(each, variants?.[index] ?? {}));
  return {
    ...schema,
    ...(described.text === undefined ? {} : { description: described.text }),
    ...(described.examples === undefined
      ? {}
      : { examples: described.examples.map((text) => JSON.parse(text) as unknown) }),
    ...(schema.properties === undefined
      ? {}
      : {
          properties: Object.fromEntries(
            Object.entries(schema.properties).map(([name, field]) => [
              name,
              join(field, described.fields?.[name] ?? {}),
            ]),
          ),
        }),
    ...(schema.items === undefined ? {} : { items: join(schema.items, described.items ?? {}) }),
    ...(typeof schema.additionalProperties === 'object'
      ? { additionalProperties: join(schema.additionalProperties, described.items ?? {}) }
      : {}),
    ...(schema.anyOf === undefined ? {} : { anyOf: joined(schema.anyOf) }),
    ...(schema.oneOf === undefined ? {} : { oneOf: joined(schema.oneOf) }),
  };
}

/** Fields in words: `"a"`, `"b"` or an object; a list of strings, at most 5. */
function typeText(schema: JsonSchema): string {
  if (schema.const !== undefined) return code(schema.const);
  if (schema.enum !== undefined) return schema.enum.map(code).join(', ');
  const variants = schema.anyOf ?? schema.oneOf;
  if (variants !== undefined) return [...new Set(variants.map(typeText))].join(' or ');
  if (schema.type === 'array')
    return `list of ${typeText(schema.items ?? {})}${bounds(schema.minItems, schema.maxItems, ' entries')}`;
  if (schema.type === 'object') return schema.properties === undefined ? 'object: name → value' : 'object';
  if (schema.type === 'integer' || schema.type === 'number')
    return `whole number${bounds(schema.minimum, schema.maximum, '')}`;
  if (schema.type === 'string') return `string${bounds(schema.minLength, schema.maxLength, ' characters')}`;
  return schema.type ?? 'any JSON value';
}

function bounds(min: number | undefined, max: number | undefined, unit: string): string {
  const number = (value: number): string => value.toLocaleString('en-US');
  if (min !== undefined && max !== undefined && max < Number.MAX_SAFE_INTEGER)
    return `, ${number(min)} to ${number(max)}${unit}`;
  if (max !== undefined && max < Number.MAX_SAFE_INTEGER) return `, at most ${number(max)}${unit}`;
  if (min === 1 && unit !== '') return ', not empty';
  return min === undefined ? '' : `, at least ${number(min)}${unit}`;
}

const code = (value: unknown): string => `\`${JSON.stringify(value)}\``;
const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

interface Row {
  readonly path: string;
  readonly schema: JsonSchema;
  readonly required: boolean;
}

/** Leaves and objects below a field; `[]` stands for each entry of a list, `{}` for each value of an object. */
export function rowsBelow(schema: JsonSchema, prefix: string): Row[] {
  // RFC 7517 describes the members of a key.
  if (prefix.endsWith('.jwks.keys')) return [];
  // Keys that are let through unread have no rows.
  const list =
    schema.properties === undefined
      ? [schema.items, schema.additionalProperties].find((each) => typeof each === 'object')
      : undefined;
  if (typeof list === 'object')
    return rowsBelow(list, `${prefix}${schema.items === undefined ? '{}' : '[]'}`);
  const variants = schema.anyOf ?? schema.oneOf;
  if (variants !== undefined) return distinct(variants.flatMap((each) => rowsBelow(each, prefix)));
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const path = prefix === '' ? name : `${prefix}.${name}`;
    const isRequired = schema.required?.includes(name) === true;
    return [{ path, schema: field, required: isRequired }, ...rowsBelow(field, path)];
  });
}

/** The same field of several variants (`mode` of each kind of `auth`) is one row. */
function distinct(rows: readonly Row[]): Row[] {
  const byPath = new Map<string, Row>();
  for (const row of rows) {
    const known = byPath.get(row.path);
    if (known === undefined) byPath.set(row.path, row);
    else if (row.schema.const !== undefined)
      byPath.set(row.path, { ...known, schema: bothOf(known.schema, row.schema) });
  }
  return [...byPath.values()];
}

/** Each constant with its own meaning. */
function bothOf(left: JsonSchema, right: JsonSchema): JsonSchema {
  const said = (schema: JsonSchema): string =>
    schema.const === undefined
      ? (schema.description ?? '')
      : `${code(schema.const)}: ${schema.description ?? ''}`;
  return {
    enum: [...(left.enum ?? [left.const]), right.const],
    description: `${said(left)} ${said(right)}`.trim(),
  };
}

function fallback({ schema, required }: Row): string {
  if (schema.default !== undefined) return code(schema.default);
  return required ? 'required' : '—';
}

function section(name: string, schema: JsonSchema, required: boolean): string[] {
  const rows = rowsBelow(schema, name);
  const own = fallback({ path: name, schema, required });
  return [
    `## \`${name}\``,
    '',
    schema.description ?? '',
    '',
    `${capital(typeText(schema))}. ${own === 'required' ? 'Required.' : own === '—' ? 'Optional.' : `Default: ${own}.`}`,
    '',
    ...(rows.length === 0
      ? []
      : [
          '| field | type | default | meaning |',
          '| --- | --- | --- | --- |',
          ...rows.map(
            (row) =>
              `| \`${row.path}\` | ${cell(typeText(row.schema))} | ${cell(fallback(row))} | ${cell(row.schema.description ?? '')} |`,
          ),
          '',
        ]),
    ...(schema.examples ?? []).flatMap((example) => [
      '```jsonc',
      `${JSON.stringify(name)}: ${spaced(example)}`,
      '```',
      '',
    ]),
  ];
}

const capital = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1);

/** JSON on one line as people write it. */
function spaced(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(spaced).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  return `{ ${Object.entries(value)
    .map(([name, member]) => `${JSON.stringify(name)}: ${spaced(member)}`)
    .join(', ')} }`;
}

const COMPLETE = `{
  "$schema": "./node_modules/isoplane/isoplane.schema.json",
  "name": "hello",
  "main": "src/index.ts",
  "compatibilityDate": "2026-11-01",
  "vars": { "GREETING": "Hello" },
  "auth": { "mode": "signed" }
}`;

export function configPage(notice: string): string {
  const schema = projectSchema();
  const fields = Object.entries(schema.properties ?? {});
  const first = ['name', 'main', 'compatibilityDate', '$schema'];
  const ordered = [
    ...first.flatMap((name) => fields.filter(([each]) => each === name)),
    ...fields.filter(([name]) => !first.includes(name)),
  ];
  return [
    '# Configuration of a function',
    '',
    notice,
    '',
    'A project is a folder with an `isoplane.jsonc` (or `isoplane.json`): JSON with comments and trailing commas. Names end in their unit.',
    'An unknown or wrong field is refused with its line, all at once. `isoplane init` writes a `$schema`, by which editors complete and',
    'check the file as it is typed; `isoplane deploy --dry-run` checks it without a platform.',
    '',
    '```jsonc',
    COMPLETE,
    '```',
    '',
    ...ordered.flatMap(([name, field]) => section(name, field, schema.required?.includes(name) === true)),
    '## Platform limits',
    '',
    'Names in the code of the platform; those that end in `Default` are the defaults above.',
    '',
    '| limit | value |',
    '| --- | --- |',
    ...Object.entries(LIMITS).map(([name, value]) => `| \`${name}\` | ${value.toLocaleString('en-US')} |`),
    '',
  ].join('\n');
}
