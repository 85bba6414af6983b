/** An instance whose queue of connections is full, for as long as a test wants. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

export interface BusyInstance extends Disposable {
  /** It accepts again, and answers every request with `at last`. */
  goOn(): void;
}

/** Listens at `path` and accepts nothing: a process of its own that stands still. */
export async function busyInstance(path: string): Promise<BusyInstance> {
  const child = spawn(process.execPath, [
    '-e',
    `require('node:http').createServer((_, response) => response.end('at last')).listen({ path: ${JSON.stringify(path)}, backlog: 1 }, () => { process.stdout.write('up'); });`,
  ]);
  await once(child.stdout, 'data');
  child.kill('SIGSTOP');
  const waiting = await fillQueue(path);
  return {
    goOn: () => {
      child.kill('SIGCONT');
      for (const socket of waiting) socket.destroy();
    },
    [Symbol.dispose]: () => {
      for (const socket of waiting) socket.destroy();
      child.kill('SIGKILL');
    },
  };
}

/** Connects until the kernel says that there is no room. */
export async function fillQueue(path: string): Promise<readonly Socket[]> {
  const sockets: Socket[] = [];
  for (;;) {
    const socket = connect(path);
    const full = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(false));
      socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'EAGAIN'));
    });
    if (full) return sockets;
    sockets.push(socket);
  }
}
