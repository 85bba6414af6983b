/** Commands that list and change what the account owns. */
import type { Command } from 'commander';
import { LIMITS } from '#shared/limits.ts';
import { collect, integer, run } from './run.ts';
import type * as Resources from './commands/resources.ts';
import type * as Kv from './commands/kv.ts';
import type * as Layers from './commands/layers.ts';
import type * as Routes from './commands/routes.ts';
import type * as Secrets from './commands/secrets.ts';

const resources = (name: keyof typeof Resources) =>
  run(async () => (await import('./commands/resources.ts'))[name]);
const route = (name: keyof typeof Routes) => run(async () => (await import('./commands/routes.ts'))[name]);
const layer = (name: keyof typeof Layers) => run(async () => (await import('./commands/layers.ts'))[name]);
const secret = (name: keyof typeof Secrets) => run(async () => (await import('./commands/secrets.ts'))[name]);

const kv = (name: keyof typeof Kv) => run(async () => (await import('./commands/kv.ts'))[name]);

export function addResourceCommands(program: Command): void {
  const functions = program.command('functions').description('functions of the account');
  functions.command('list').description('all functions').action(resources('listFunctions'));
  functions
    .command('show')
    .argument('<function>')
    .description('aliases, versions and history')
    .action(resources('showFunction'));
  functions
    .command('enable')
    .argument('<function>')
    .description('answer requests again')
    .action(resources('enableFunction'));
  functions
    .command('disable')
    .argument('<function>')
    .description('refuse requests, keep everything')
    .action(resources('disableFunction'));
  functions
    .command('delete')
    .argument('<function>')
    .description('delete the function with all its versions')
    .option('-y, --yes', 'do not ask')
    .action(resources('deleteFunction'));

  program
    .command('versions')
    .argument('<function>')
    .description('versions of a function')
    .option('--delete <number>', 'delete this version')
    .action(resources('versions'));

  const aliases = program.command('aliases').description('which versions an alias serves');
  aliases
    .command('list')
    .argument('<function>')
    .description('aliases of a function')
    .action(resources('listAliases'));
  aliases
    .command('set')
    .argument('<function>')
    .argument('<alias>')
    .argument('<weights...>', 'a version number, or VERSION=PERCENT several times (sum 100)')
    .option('--message <text>', 'note for the history')
    .option('--no-wait', 'return once the platform has accepted it')
    .description('point an alias at one version, or split its traffic')
    .action(resources('setAlias'));
  aliases
    .command('delete')
    .argument('<function>')
    .argument('<alias>')
    .description('delete an alias')
    .action(resources('deleteAlias'));

  aliases
    .command('provision')
    .argument('<function>')
    .argument('<alias>')
    .option('--instances <count>', 'kept ready at all times', integer(0, LIMITS.provisionedMax))
    .option('--window <window>', 'like "mon-fri 08:00-18:00=5" (UTC); repeatable', collect)
    .option('--off', 'keep none')
    .description('keep instances ready for an alias; without options, show how many are')
    .action(run(async () => (await import('./commands/provision.ts')).provision));

  addRouteCommands(program);
  addSecretCommands(program);

  addLayerCommands(program);
  addKvCommands(program);
}

function addSecretCommands(program: Command): void {
  const secrets = program
    .command('secrets')
    .description('sealed values: in env of a function, or on its outbound requests');
  secrets
    .command('list')
    .option('--function <name>', "the function's own instead of the account's")
    .description('names; values are never shown')
    .action(secret('listSecrets'));
  secrets
    .command('put')
    .argument('<name>')
    .option('--function <name>', 'as env.NAME of this function, at once and in every version')
    .option('--for-function <name>', 'of the account, but for this function alone; repeatable', collect)
    .option('--for-host <host>', 'of the account, but for headers to this host alone; repeatable', collect)
    .option('--unbound', 'of the account, for all its functions and any host')
    .description('set or replace a secret; its value is read from stdin, or asked for')
    .action(secret('putSecret'));
  secrets
    .command('delete')
    .argument('<name>')
    .option('--function <name>', "the function's own instead of the account's")
    .description('delete a secret that no served version needs')
    .action(secret('deleteSecret'));
}

function addLayerCommands(program: Command): void {
  const layers = program.command('layers').description('modules shared between functions');
  layers.command('list').description('all layers').action(layer('listLayers'));
  layers
    .command('versions')
    .argument('<layer>')
    .description('versions of a layer')
    .action(layer('layerVersions'));
  layers
    .command('publish')
    .argument('<layer>')
    .argument('<folder>', 'its files become /opt/FILE; TypeScript is compiled')
    .option('--message <text>', 'note for the history')
    .description('publish a folder as the next version')
    .action(layer('publishLayer'));
  layers
    .command('show')
    .argument('<layer>')
    .argument('<version>')
    .description('modules of a layer version')
    .action(layer('showLayer'));
  layers
    .command('delete')
    .argument('<layer>')
    .argument('<version>')
    .description('delete a layer version that no function uses')
    .action(layer('deleteLayer'));
}

function addKvCommands(program: Command): void {
  const namespaces = program.command('kv').description('key-value namespaces that functions bind to');
  namespaces.command('list').description('all namespaces').action(kv('listNamespaces'));
  namespaces
    .command('create')
    .argument('<namespace>')
    .description('make a namespace')
    .option('--for-function <name>', 'only this function may bind it; repeatable', collect)
    .action(kv('createNamespace'));
  namespaces
    .command('grant')
    .argument('<namespace>')
    .option('--for-function <name>', 'only this function may bind it; repeatable', collect)
    .description('say which functions may bind a namespace; without options, all of the account')
    .action(kv('grantNamespace'));
  namespaces
    .command('delete')
    .argument('<namespace>')
    .description('delete a namespace that no version binds, with all its values')
    .action(kv('deleteNamespace'));
  namespaces
    .command('keys')
    .argument('<namespace>')
    .option('--prefix <text>', 'only keys that begin with it')
    .description('keys of a namespace')
    .action(kv('listKeys'));
  namespaces
    .command('get')
    .argument('<namespace>')
    .argument('<key>')
    .description('write a value to stdout')
    .action(kv('getValue'));
  namespaces
    .command('put')
    .argument('<namespace>')
    .argument('<key>')
    .argument('[value]')
    .option('--file <path>', 'take the value from a file')
    .option('--ttl <seconds>', 'the key is gone after this many seconds', integer(60, 1_000_000_000))
    .description('set a value')
    .action(kv('putValue'));
  namespaces
    .command('remove')
    .argument('<namespace>')
    .argument('<key>')
    .description('remove a key')
    .action(kv('removeValue'));
}

function addRouteCommands(program: Command): void {
  const routes = program.command('routes').description('own host names and paths for functions');
  routes.command('list').description('all routes').action(route('listRoutes'));
  routes
    .command('add')
    .argument('<host>')
    .argument('<path>', 'exact path, or a prefix that ends in /*')
    .argument('<function>')
    .option('--alias <alias>', 'alias to serve', 'live')
    .description('send a host and path to a function')
    .action(route('addRoute'));
  routes
    .command('remove')
    .argument('<route>', 'HOST/PATH, or its id')
    .description('remove a route')
    .action(route('removeRoute'));
}
