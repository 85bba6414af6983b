/** All commands and options in one place. Each command's code is loaded when it runs, so help stays fast. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Argument, Command, Option } from 'commander';
import { USAGE_GRANULARITIES } from '#shared/contracts/api.ts';
import { COMPLETION_SETUP, SHELLS } from './completion/scripts.ts';
import { packageFolder } from './package-folder.ts';
import { collect, integer, run } from './run.ts';
import { addAccessCommands } from './access-commands.ts';
import { addHelp } from './help.ts';
import { addResourceCommands } from './resource-commands.ts';

/** @param json - nothing is written to stderr about a wrong command line; the thrown error says it. */
export function createProgram(json = false): Command {
  const program = new Command('isoplane')
    .description('Deploy, run and manage functions on Isoplane.')
    .version(packageVersion(), '-V, --version')
    .option('--json', 'results as JSON on stdout')
    .option('--verbose', 'show causes and stacks of failures')
    .option(
      '--data <dir>',
      'data folder of the platform (default: ISOPLANE_DATA_DIR, else the nearest .isoplane/)',
    )
    .option('--profile <name>', 'platform that `isoplane login` remembers (default: ISOPLANE_PROFILE)')
    .option('--account <name>', 'account to act in (default: ISOPLANE_ACCOUNT, else that of the key)')
    .showHelpAfterError('(isoplane help COMMAND explains it)');
  program.commandsGroup('Every day:');
  addProjectCommands(program);
  addDevCommand(program);
  program.commandsGroup('What is deployed:');
  addResourceCommands(program);
  addUsageCommand(program);
  program.commandsGroup('Who may do what:');
  addAccessCommands(program);
  program.commandsGroup('The platform:');
  addPlatformCommands(program);
  addCareCommands(program);
  program.commandsGroup('Help:');
  addHelpCommands(program);
  // Whoever reads JSON reads failures as JSON, too: main.ts writes them.
  const output = json ? { writeErr: () => undefined } : {};
  for (const command of [program, ...allCommands(program)]) command.exitOverride().configureOutput(output);
  return program;
}

function* allCommands(command: Command): Generator<Command> {
  for (const child of command.commands) {
    yield child;
    yield* allCommands(child);
  }
}

function packageVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(join(packageFolder(), 'package.json'), 'utf8'));
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest
    ? String(manifest.version)
    : 'unknown';
}

function addHelpCommands(program: Command): void {
  addHelp(program);
  program
    .command('docs')
    .argument('[topic]', 'a page; without it the list')
    .argument('[section]', 'a part of the page, like the name of a field')
    .description('read the documentation')
    .action(run(async () => (await import('./commands/docs.ts')).docs));
  program
    .command('completion')
    .addArgument(new Argument('<shell>', 'shell to complete commands in').choices(SHELLS))
    .description('print what a shell loads to complete commands, options and names')
    .addHelpText('after', COMPLETION_SETUP)
    .action(run(async () => (await import('./commands/completion.ts')).completion));
  program
    .command('complete', { hidden: true })
    .argument('[words...]')
    .description('candidates for the last word; the completion scripts call it')
    .action(
      run(async () => {
        const { completeWords } = await import('./commands/completion.ts');
        return (_context, words) => completeWords(program, words);
      }),
    );
}

function addProjectCommands(program: Command): void {
  program
    .command('init')
    .description('make a new project')
    .argument('[folder]', 'folder to create or to add to; its name is the name of the function')
    .addOption(
      new Option('--style <style>', 'kind of function').choices(['module', 'event']).default('module'),
    )
    .addOption(
      new Option('--template <template>', 'what to start from').choices(['hello', 'event', 'streaming']),
    )
    .option('--name <name>', 'name of the function (default: that of the folder)')
    .option('--wrangler', 'write wrangler.toml instead of isoplane.jsonc')
    .action(run(async () => (await import('./commands/init.ts')).init));
  program
    .command('deploy')
    .description('bundle, publish a version, move the alias, wait until it is served')
    .argument('[project]', 'project folder, configuration file or entry file', '.')
    .option('--env <environment>', 'environment of a wrangler file to deploy')
    .option('--name <name>', 'name of the function, in place of the configured one')
    .addOption(
      new Option('--auth <mode>', 'who may call it, in place of what is configured').choices([
        'public',
        'signed',
      ]),
    )
    .option('--allow-missing', 'deploy without bindings that the platform does not have')
    .option('--alias <alias>', 'alias to move; another one than live answers at ALIAS--FUNCTION', 'live')
    .option('--no-alias-move', 'publish without moving an alias')
    .option('--message <text>', 'note for the history')
    .option('--secrets-file <file>', 'secrets of the function to set before: NAME=value lines, or JSON')
    .option('--no-wait', 'return once the platform has accepted it')
    .option('--minify', 'minify the code')
    .option('--dry-run', 'bundle and show what would be uploaded')
    .action(run(async () => (await import('./commands/deploy.ts')).deploy));
  program
    .command('invoke')
    .description('call a function with a request signed by the local key')
    .argument('<function>')
    .option('-X, --method <method>', 'HTTP method (default GET, POST with data)')
    .option('-d, --data-body <data>', 'request body; @FILE reads a file, - reads stdin')
    .option('-H, --header <header>', 'request header, "name: value"; repeatable', collect)
    .option('--path <path>', 'path and query', '/')
    .option('--alias <alias>', 'alias to call', 'live')
    .option('-i, --include', 'show status and headers on stderr')
    .action(run(async () => (await import('./commands/invoke.ts')).invoke));
  program
    .command('rollback')
    .description('let an alias serve an earlier version again')
    .argument('<function>')
    .option(
      '--to <version>',
      'version number (default: what it served before)',
      integer(1, Number.MAX_SAFE_INTEGER),
    )
    .option('--alias <alias>', 'alias to move', 'live')
    .option('--message <text>', 'note for the history')
    .option('--no-wait', 'return once the platform has accepted it')
    .action(run(async () => (await import('./commands/rollback.ts')).rollback));
  program
    .command('logs')
    .description('console output and exceptions of a function')
    .argument('<function>')
    .option('-f, --follow', 'keep showing new entries')
    .option('-n, --tail <count>', 'entries to start with', integer(0, 2_000), 100)
    .action(run(async () => (await import('./commands/logs.ts')).logs));
}

function addDevCommand(program: Command): void {
  program
    .command('dev')
    .description('run functions as after deployment on this machine, and again on every save')
    .argument('[projects...]', 'project folders or configuration files, or a folder of projects')
    .option('--env <environment>', 'environment of wrangler files to run')
    .option('-p, --port <port>', 'port; 0 lets the system choose', integer(0, 65_535), 8787)
    .option('--host <host>', 'address to listen on', '127.0.0.1')
    .addOption(
      new Option('--auth <mode>', 'check callers as after deployment, or let everybody in')
        .choices(['as-deployed', 'off'])
        .default('as-deployed'),
    )
    .option('--claims <json>', 'claims of those who are let in, for functions that take tokens')
    .option(
      '--inspect [port]',
      'debugger on 127.0.0.1 (default 9229); limits and sandbox are off',
      integer(0, 65_535),
    )
    .option('--layer <name=folder>', 'take a layer from a folder; repeatable', collect)
    .addOption(
      new Option('--sandbox <mode>', 'sandbox of functions where the machine has one')
        .choices(['auto', 'off'])
        .default('auto'),
    )
    .action(run(async () => (await import('./commands/dev.ts')).dev));
  program
    .command('types')
    .description('write the types of env from the configuration')
    .argument('[project]', 'project folder or configuration file', '.')
    .option('--env <environment>', 'environment of a wrangler file to read')
    .option('-o, --output <file>', 'file to write', 'isoplane-env.d.ts')
    .option('--layer <name=folder>', 'where the source of a layer is; repeatable', collect)
    .option('--check', 'write nothing; fail when the file does not fit the configuration')
    .action(run(async () => (await import('./commands/types.ts')).types));
}

function addUsageCommand(program: Command): void {
  program
    .command('usage')
    .description('requests, CPU, memory and bytes that functions used')
    .option('--function <function>', 'of this function only')
    .option('--from <instant>', 'first day or instant (default: 30 days before the end)')
    .option('--to <instant>', 'end, not included (default: now)')
    .addOption(
      new Option('--by <granularity>', 'one line an hour, a day (UTC), or in all')
        .choices(USAGE_GRANULARITIES)
        .default('total'),
    )
    .action(run(async () => (await import('./commands/usage.ts')).usage));
}

function addPlatformCommands(program: Command): void {
  program
    .command('up')
    .description('run the whole platform on this machine')
    .addOption(
      new Option('--host <host>', 'address of the gateway').default('127.0.0.1').env('ISOPLANE_GATEWAY_HOST'),
    )
    .addOption(
      new Option('-p, --port <port>', 'port of the gateway')
        .argParser(integer(0, 65_535))
        .default(8787)
        .env('ISOPLANE_GATEWAY_PORT'),
    )
    .addOption(
      new Option('--control-host <host>', 'address of the control API')
        .default('127.0.0.1')
        .env('ISOPLANE_CONTROL_HOST'),
    )
    .addOption(
      new Option('--control-port <port>', 'port of the control API')
        .argParser(integer(0, 65_535))
        .default(8788)
        .env('ISOPLANE_CONTROL_PORT'),
    )
    .addOption(
      new Option(
        '--database <url>',
        'libSQL server (http:, https:, ws:, wss:) instead of a file; its token is ISOPLANE_DATABASE_TOKEN',
      ).env('ISOPLANE_DATABASE_URL'),
    )
    .addOption(
      new Option(
        '--blobs <url>',
        'bucket for code and files, s3://BUCKET?endpoint=URL&region=NAME; its keys are ISOPLANE_BLOBS_ACCESS_KEY_ID and ISOPLANE_BLOBS_SECRET_ACCESS_KEY',
      ).env('ISOPLANE_BLOBS_URL'),
    )
    .addOption(
      new Option('--base-domain <domain>', 'functions answer at NAME.DOMAIN')
        .default('localhost')
        .env('ISOPLANE_BASE_DOMAIN'),
    )
    .addOption(
      new Option('--gateways <count>', 'gateway processes on the same port')
        .argParser(integer(1, 64))
        .default(1)
        .env('ISOPLANE_GATEWAYS'),
    )
    .addOption(
      new Option('--slots <count>', 'warm slots of the node')
        .argParser(integer(0, 1_000))
        .env('ISOPLANE_SLOTS'),
    )
    .addOption(
      new Option('--sandbox <mode>', 'isolation of functions: required refuses to start without it')
        .choices(['auto', 'required', 'off'])
        .default('auto')
        .env('ISOPLANE_SANDBOX'),
    )
    .action(run(async () => (await import('./up/command.ts')).up));
  for (const plane of ['control', 'scheduler', 'gateway', 'node'] as const) {
    program
      .command(plane)
      .description(`run the ${plane} plane alone; settings come from ISOPLANE_… variables`)
      .action(
        run(
          async () => (context) => import('./up/single.ts').then(({ runAlone }) => runAlone(plane, context)),
        ),
      );
  }
}

function addCareCommands(program: Command): void {
  program
    .command('status')
    .description('nodes, gateways and the revision each has applied')
    .action(run(async () => (await import('./commands/status.ts')).status));
  program
    .command('metrics')
    .description('numbers of every plane, as Prometheus reads them; docs/OPERATIONS.md lists them')
    .action(run(async () => (await import('./commands/metrics.ts')).metrics));
  program
    .command('accept-data-loss')
    .description('after a damaged or lost database: let the next start go on without what is missing')
    .option('--yes', 'do not ask')
    .action(run(async () => (await import('./commands/accept-data-loss.ts')).acceptDataLoss));
  program
    .command('doctor')
    .description('what this machine can and cannot enforce, and what to install')
    .action(run(async () => (await import('./commands/doctor.ts')).doctor));
}
