import { runScripted } from './scripted.ts';

await runScripted('scheduler');
