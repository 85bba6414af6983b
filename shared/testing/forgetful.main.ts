/** Fills its heap with garbage and says how large it is: before, and when it has given that back. */
import process from 'node:process';
import { giveMemoryBack } from '../runtime/idle-memory.node.ts';
import { systemTimers } from '../runtime/clock.ts';

const startBytes = process.memoryUsage.rss();
giveMemoryBack(systemTimers);
let held: unknown[] = [];
for (let index = 0; index < 400_000; index += 1) held.push({ index, text: `${index}`.repeat(20) });
const fullBytes = process.memoryUsage.rss();
held = [];
setInterval(() => process.send?.({ startBytes, fullBytes, nowBytes: process.memoryUsage.rss() }), 200);
