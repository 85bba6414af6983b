import { runScripted } from './scripted.ts';

await runScripted('gateway');
