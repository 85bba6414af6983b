/** Commands about who one is, and who may do what. */
import { Option, type Command } from 'commander';
import { LIMITS } from '#shared/limits.ts';
import { collect, integer, run } from './run.ts';
import type * as Accounts from './commands/accounts.ts';
import type * as Issuers from './commands/issuer.ts';
import type * as Keys from './commands/keys.ts';
import type * as Login from './commands/login.ts';

const account = (name: keyof typeof Accounts) =>
  run(async () => (await import('./commands/accounts.ts'))[name]);
const issuers = (name: keyof typeof Issuers) => run(async () => (await import('./commands/issuer.ts'))[name]);
const key = (name: keyof typeof Keys) => run(async () => (await import('./commands/keys.ts'))[name]);
const session = (name: keyof typeof Login) => run(async () => (await import('./commands/login.ts'))[name]);

export function addAccessCommands(program: Command): void {
  addLoginCommands(program);
  addKeyCommands(program);
  addAccountCommands(program);
}

function addLoginCommands(program: Command): void {
  program
    .command('login')
    .argument('[url]', 'of the control API, like https://control.example.com')
    .option(
      '--key-file <path>',
      'file with the key (default: ISOPLANE_KEY, else asked for or read from stdin)',
    )
    .option('--gateway <url>', 'where functions answer, when the platform cannot know (a proxy in front)')
    .description('remember a platform and a key for it; --profile names it')
    .action(session('login'));
  program
    .command('logout')
    .description('forget a profile (--profile NAME, else the current one)')
    .action(session('logout'));
  program
    .command('whoami')
    .description('the key, role and account in use, and the platform they are for')
    .action(session('whoami'));
  const profiles = program.command('profiles').description('platforms that login remembers');
  profiles.command('list').description('all profiles').action(session('listProfiles'));
  profiles
    .command('use')
    .argument('<profile>')
    .description('use it where nothing else names a platform')
    .action(session('useProfile'));
}

function addKeyCommands(program: Command): void {
  const keys = program.command('keys').description('who may call the control API and signed functions');
  keys.command('list').description('all keys').action(key('listKeys'));
  keys
    .command('create')
    .argument('<name>')
    .description('make a key; its secret is shown once')
    .addOption(
      new Option('--role <role>', 'what it may do; an observer reads the metrics of the platform alone')
        .choices(['owner', 'deployer', 'invoker', 'observer'])
        .default('invoker'),
    )
    .addOption(
      new Option('--algorithm <algorithm>', 'token is a bearer token for the control API only')
        .choices(['ed25519', 'hmac-sha256', 'token'])
        .default('ed25519'),
    )
    .option('--public-key <base64url>', 'ed25519 public key; the platform then never sees a secret')
    .option(
      '--function <name>',
      'only this function, and of KV namespaces and secrets those that are granted to it; repeatable',
      collect,
    )
    .option('--expires <instant>', 'RFC 3339 instant, for example 2027-01-01T00:00:00Z')
    .action(key('createKey'));
  keys
    .command('revoke')
    .argument('<key>', 'its name or id')
    .description('a revoked key is refused at once')
    .action(key('revokeKey'));
}

const UNBOUNDED = Number.MAX_SAFE_INTEGER;

function addAccountCommands(program: Command): void {
  const accounts = program.command('accounts').description('accounts and what they may use (operator)');
  accounts.command('list').description('all accounts').action(account('listAccounts'));
  accounts
    .command('create')
    .argument('<account>')
    .description('make an account')
    .action(account('createAccount'));
  accounts
    .command('ceilings')
    .argument('<account>')
    .option('--instances <count>', 'instances of all functions together', integer(0, UNBOUNDED))
    .option('--functions <count>', 'functions', integer(0, UNBOUNDED))
    .option('--cpu-ms <ms>', 'largest limits.cpuMs', integer(10, UNBOUNDED))
    .option('--timeout-ms <ms>', 'largest limits.timeoutMs', integer(10, UNBOUNDED))
    .option('--memory-mb <mb>', 'largest limits.memoryMb', integer(LIMITS.memoryMbMin, UNBOUNDED))
    .option('--kv-bytes <bytes>', 'bytes kept in KV', integer(0, UNBOUNDED))
    .option('--aliases <count>', 'aliases', integer(0, UNBOUNDED))
    .option('--routes <count>', 'routes', integer(0, UNBOUNDED))
    .option('--keys <count>', 'keys', integer(0, UNBOUNDED))
    .option('--layer-versions <count>', 'layer versions', integer(0, UNBOUNDED))
    .option('--versions-kept <count>', 'versions kept of each function', integer(1, UNBOUNDED))
    .option('--feed-bytes <bytes>', 'bytes of all configurations in use', integer(0, UNBOUNDED))
    .option('--code-bytes <bytes>', 'bytes of code of all versions and layers', integer(0, UNBOUNDED))
    .option('--asset-bytes <bytes>', 'bytes of static assets', integer(0, UNBOUNDED))
    .addOption(new Option('--tier <tier>', 'least tier').choices(['standard', 'strict']))
    .option('--clear', 'remove all ceilings')
    .description('replace the ceilings of an account; without options, show them')
    .action(account('ceilings'));
  const issuer = accounts
    .command('issuer')
    .description('whose tokens jwt functions accept when they name no keys');
  issuer.command('show').description('issuer of the account').action(issuers('showIssuer'));
  issuer
    .command('set')
    .argument('<issuer>', 'the `iss` of its tokens')
    .argument('<jwks>', 'its public keys, a JSON Web Key Set: a file, or an https:// URL, which is read once')
    .description('set or replace the one issuer of the account, or its keys')
    .action(issuers('setIssuer'));
  issuer.command('remove').description('accept no tokens by default').action(issuers('removeIssuer'));
}
