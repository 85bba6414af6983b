/** The programs that docs/programs.md is measured with, and what is expected of each. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';

const programSchema = z.strictObject({
  repository: z.string(),
  /** Of its npm project, in the repository. */
  path: z.string(),
  /** What is deployed, in that folder, when it is not the folder. */
  target: z.string().optional(),
  /** Function name; a program that others call has the name that they call. */
  name: z.string().optional(),
  /** Command of an installed package that builds it. */
  build: z.string().optional(),
  /** Packages that it needs and that another manifest of its repository names. */
  packages: z.record(z.string(), z.string()).optional(),
  /** Secrets that its README wants. */
  secrets: z.record(z.string(), z.string()).optional(),
  expect: z.union([
    /** Answers of one request: the status, and a part of the text that is the program's own, where it has any. */
    z
      .strictObject({
        path: z.string().default('/'),
        status: z.number().default(200),
        contains: z.string().min(1).optional(),
      })
      .refine(({ status, contains }) => status !== 200 || contains !== undefined, 'anything answers 200'),
    /** The names that the refusal must tell: keys of the configuration, or words of the bundler's refusal. */
    z.strictObject({ refused: z.array(z.string()).min(1) }),
  ]),
});
export type Program = z.output<typeof programSchema>;

const listSchema = z.strictObject({
  /** Commit of each repository. */
  repositories: z.record(z.string(), z.string()),
  /** In the order of deploys: who is called comes before who calls. */
  programs: z.array(programSchema),
});
export type ProgramList = z.output<typeof listSchema>;

export function readList(): ProgramList {
  return listSchema.parse(JSON.parse(readFileSync(new URL('list.json', import.meta.url), 'utf8')));
}

export const programName = ({ repository, path, target }: Program): string =>
  [repository, path === '.' ? undefined : path, target].filter((part) => part !== undefined).join('/');

/** As docs/programs.md shows it: what each of them comes to. */
export function tableOf({ programs }: ProgramList): string {
  const rows = programs.map((program) => {
    const { expect } = program;
    const verdict = 'refused' in expect ? `refused: ${expect.refused.join(', ')}` : 'runs';
    return `| ${programName(program)} | ${verdict} |`;
  });
  return ['| program | |', '| --- | --- |', ...rows].join('\n');
}
