/** How a new project goes into a folder that already holds something. Pure: nothing that exists is lost. */
import { applyEdits, modify, parse } from 'jsonc-parser';

export interface Merged {
  /** Path → content to write: new files, and those that only gained something. */
  readonly files: ReadonlyMap<string, string>;
  /** What each changed file gained, in words. */
  readonly changed: ReadonlyMap<string, string>;
  /** Left as they are. */
  readonly kept: readonly string[];
}

/** @param existing - of the scaffold's files, those that are there, with their content. */
export function mergeScaffold(
  scaffold: ReadonlyMap<string, string>,
  existing: ReadonlyMap<string, string>,
): Merged {
  const files = new Map<string, string>();
  const changed = new Map<string, string>();
  const kept: string[] = [];
  for (const [file, content] of scaffold) {
    const before = existing.get(file);
    if (before === undefined) {
      files.set(file, content);
      continue;
    }
    const merged =
      file === 'package.json'
        ? mergeManifest(before, content)
        : file === '.gitignore'
          ? mergeLines(before, content)
          : undefined;
    if (merged === undefined || merged.gained.length === 0) {
      kept.push(file);
      continue;
    }
    files.set(file, merged.text);
    changed.set(file, merged.gained.join(', '));
  }
  return { files, changed, kept };
}

interface Gain {
  readonly text: string;
  readonly gained: readonly string[];
}

/** Scripts and development dependencies that it does not have; everything else, and its form, stay. */
function mergeManifest(before: string, content: string): Gain | undefined {
  const own: unknown = parse(before);
  const wanted = parse(content) as Record<string, unknown>;
  if (typeof own !== 'object' || own === null) return undefined;
  const indent = /^(\t| {1,8})"/m.exec(before)?.[1] ?? '  ';
  const formattingOptions = {
    insertSpaces: indent !== '\t',
    tabSize: indent === '\t' ? 1 : indent.length,
    eol: '\n',
  };
  let text = before;
  const gained: string[] = [];
  for (const part of ['scripts', 'devDependencies'] as const) {
    const had = [part, 'dependencies'].flatMap((each) =>
      Object.keys((Reflect.get(own, each) as object | undefined) ?? {}),
    );
    for (const [name, value] of Object.entries(wanted[part] as Record<string, string>)) {
      if (had.includes(name)) continue;
      text = applyEdits(text, modify(text, [part, name], value, { formattingOptions }));
      gained.push(part === 'scripts' ? `script ${name}` : name);
    }
  }
  return { text, gained };
}

function mergeLines(before: string, content: string): Gain {
  const has = new Set(before.split(/\r?\n/).map((line) => line.trim().replace(/\/$/, '')));
  const gained = content.split('\n').filter((line) => line !== '' && !has.has(line.replace(/\/$/, '')));
  const start = before === '' || before.endsWith('\n') ? before : `${before}\n`;
  return { text: `${start}${gained.map((line) => `${line}\n`).join('')}`, gained };
}
