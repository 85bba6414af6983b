import { defineConfig } from 'vitest/config';

export default defineConfig({
  resolve: { alias: { 'isoplane/vitest': new URL('./cli/vitest/index.ts', import.meta.url).pathname } },
  test: {
    include: [
      '{gateway,scheduler,nodes,control,shared,cli,scripts,test}/**/*.test.ts',
      'examples/*/test/*.test.ts',
    ],
    exclude: ['**/node_modules/**', 'test/bench/**'],
    // Two cores: more workers only make every real process slower.
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    retry: 0,
  },
});
