/** The command of `build`: a project may make its code and files with a tool of its own. */
import { spawn } from 'node:child_process';
import process from 'node:process';
import { CliError } from '../failure.ts';
import type { BuildStep } from '../project/project.ts';

/**
 * Its output goes to stderr: stdout is for results.
 *
 * @param environment - what builds of frameworks make a configuration for.
 */
export async function runBuild(
  { command, cwd }: BuildStep,
  { environment, signal }: { readonly environment?: string | undefined; readonly signal?: AbortSignal } = {},
): Promise<void> {
  const env = environment === undefined ? process.env : { ...process.env, CLOUDFLARE_ENV: environment };
  const code = await new Promise<number | null>((resolve, reject) => {
    spawn(command, {
      cwd,
      env,
      shell: true,
      stdio: ['ignore', 2, 2],
      ...(signal === undefined ? {} : { signal }),
    })
      // A shell is always there: what is missing is the folder.
      .once('error', (cause) => reject(notStarted(cwd, cause)))
      .once('exit', resolve);
  });
  if (code === 0) return;
  throw new CliError('build_failed', `The build command ended with ${code ?? 'a signal'}: ${command}`, {
    advice: `What it printed stands above; it ran in ${cwd}.`,
  });
}

function notStarted(cwd: string, cause: Error): CliError {
  return new CliError('build_failed', `The build command cannot be started in ${cwd}.`, {
    advice: 'Is there such a folder? It is the folder of the configuration file, or build.cwd.',
    cause,
  });
}
