/**
 * Reads what stands in comments above the fields of zod schemas: zod itself never sees them, and a second text
 * beside the comment would grow old. Knows the forms in which shared/contracts writes schemas, no more.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseSync } from 'oxc-parser';

/** What a schema's source says, in the shape of the schema. */
export interface Described {
  readonly text?: string;
  /** From `@example`, as written. */
  readonly examples?: readonly string[];
  readonly fields?: Readonly<Record<string, Described>>;
  readonly items?: Described;
  readonly variants?: readonly Described[];
}

interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [member: string]: unknown;
}
interface Comment {
  readonly value: string;
  readonly start: number;
  readonly end: number;
}
interface Source {
  readonly path: string;
  readonly text: string;
  readonly comments: readonly Comment[];
  /** Top-level constants: name → initializer and where its statement starts. */
  readonly constants: ReadonlyMap<string, { readonly init: Node; readonly start: number }>;
  readonly imports: ReadonlyMap<string, { readonly path: string; readonly name: string }>;
}

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const sources = new Map<string, Source>();

/** @param path - from the root of the repository. */
export function describeConstant(path: string, name: string): Described {
  const source = readSource(ROOT + path);
  const found = source.constants.get(name);
  if (found !== undefined) return { ...commentAt(source, found.start), ...describe(source, found.init) };
  const imported = source.imports.get(name);
  return imported === undefined ? {} : describeConstant(imported.path.slice(ROOT.length), imported.name);
}

function readSource(path: string): Source {
  const known = sources.get(path);
  if (known !== undefined) return known;
  const text = readFileSync(path, 'utf8');
  const parsed = parseSync(path, text);
  const body = parsed.program.body as unknown as Node[];
  const source: Source = {
    path,
    text,
    comments: parsed.comments.filter((comment) => comment.type === 'Block' && comment.value.startsWith('*')),
    constants: new Map(
      body.flatMap((statement) => {
        const declaration = (statement['declaration'] ?? statement) as Node;
        const declared = (declaration['declarations'] ?? []) as Node[];
        return declared.map(
          (each) => [(each['id'] as Node)['name'], { init: each['init'], start: statement.start }] as const,
        );
      }) as [string, { init: Node; start: number }][],
    ),
    imports: new Map(body.flatMap((statement) => importsOf(path, statement))),
  };
  sources.set(path, source);
  return source;
}

function importsOf(path: string, statement: Node): [string, { path: string; name: string }][] {
  if (statement.type !== 'ImportDeclaration') return [];
  const from = String((statement['source'] as Node)['value']);
  if (!from.startsWith('.') && !from.startsWith('#')) return [];
  const target = from.startsWith('#') ? ROOT + from.slice(1) : fileURLToPath(new URL(from, `file://${path}`));
  return ((statement['specifiers'] ?? []) as Node[]).map((each) => [
    String((each['local'] as Node)['name']),
    { path: target, name: String(((each['imported'] ?? each['local']) as Node)['name']) },
  ]);
}

/** A chain like `z.array(x).max(5).default([])` is described by its root and what `extend` adds. */
function describe(source: Source, expression: Node): Described {
  if (expression.type === 'Identifier')
    return describeConstant(source.path.slice(ROOT.length), String(expression['name']));
  if (expression.type === 'MemberExpression') return ofMember(source, expression);
  if (expression.type !== 'CallExpression') return {};
  const callee = expression['callee'] as Node;
  if (callee.type !== 'MemberExpression') return {};
  const object = callee['object'] as Node;
  const method = String((callee['property'] as Node)['name']);
  const args = expression['arguments'] as Node[];
  if (object.type === 'Identifier' && object['name'] === 'z') return ofConstructor(source, method, args);
  const root = describe(source, object);
  if (method !== 'extend' || args[0] === undefined) return root;
  return { ...root, fields: { ...root.fields, ...fieldsOf(source, args[0]) } };
}

function ofConstructor(source: Source, method: string, args: readonly Node[]): Described {
  const [first, second] = args;
  if (/^(?:strictObject|looseObject|object)$/.test(method) && first !== undefined)
    return { fields: fieldsOf(source, first) };
  if (method === 'array' && first !== undefined) return { items: describe(source, first) };
  if (method === 'preprocess' && second !== undefined) return describe(source, second);
  if (method === 'record' && second !== undefined) return { items: describe(source, second) };
  const list = method === 'union' ? first : method === 'discriminatedUnion' ? second : undefined;
  if (list === undefined) return {};
  return {
    variants: ((list['elements'] ?? []) as Node[]).map((each) => ({
      ...commentAt(source, each.start),
      ...describe(source, each),
    })),
  };
}

/** `schema.shape.field`. */
function ofMember(source: Source, expression: Node): Described {
  const object = expression['object'] as Node;
  const name = String((expression['property'] as Node)['name']);
  const inner = describe(source, object);
  return name === 'shape' ? inner : (inner.fields?.[name] ?? {});
}

function fieldsOf(source: Source, object: Node): Record<string, Described> {
  if (object.type === 'Identifier' || object.type === 'MemberExpression')
    return { ...describe(source, object).fields };
  return Object.fromEntries(
    ((object['properties'] ?? []) as Node[]).flatMap((property) => {
      if (property.type === 'SpreadElement')
        return Object.entries(describe(source, property['argument'] as Node).fields ?? {});
      const key = property['key'] as Node;
      const inner = describe(source, property['value'] as Node);
      return [
        [String(key['name'] ?? key['value']), { ...inner, ...commentAt(source, property.start) }] as const,
      ];
    }),
  );
}

/** The documentation comment that ends right before `start`. */
function commentAt(source: Source, start: number): { text?: string; examples?: string[] } {
  const comment = source.comments.find(
    (each) => each.end <= start && source.text.slice(each.end, start).trim() === '',
  );
  if (comment === undefined) return {};
  const lines = comment.value.split('\n').map((line) => line.replace(/^\s*\*+ ?/, '').trim());
  const [text = '', ...tags] = lines.join('\n').split(/^@example\s*/m);
  return {
    text: text.replaceAll(/\s+/g, ' ').trim(),
    ...(tags.length === 0 ? {} : { examples: tags.map((tag) => tag.trim()) }),
  };
}
