/** The command of `build`: a project may make its entry file with a tool of its own. */
import { spawn } from 'node:child_process';
import { CliError } from '../failure.ts';
import type { Project } from '../project/project.ts';

/** Its output goes to stderr: stdout is for results. */
export async function runBuild({ build }: Pick<Project, 'build'>): Promise<void> {
  if (build === undefined) return;
  const code = await new Promise<number | null>((resolve, reject) => {
    spawn(build.command, { cwd: build.cwd, shell: true, stdio: ['ignore', 2, 2] })
      .once('error', reject)
      .once('exit', resolve);
  });
  if (code === 0) return;
  throw new CliError('build_failed', `The build command ended with ${code ?? 'a signal'}: ${build.command}`, {
    advice: 'What it printed stands above; it runs in the folder of the configuration file, or in build.cwd.',
  });
}
