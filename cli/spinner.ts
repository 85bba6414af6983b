/**
 * One moving line on a terminal. The terminal stays as it is: what reads keys to draw progress swallows Ctrl-C,
 * and then the command cannot say what it leaves behind.
 */
import colors from 'picocolors';

const FRAMES = ['\u25d2', '\u25d0', '\u25d3', '\u25d1'] as const;
const FRAME_MS = 80;
const CLEAR_LINE = '\r\u001b[K';

export interface Spinner {
  /** How far it is, after the label. */
  at(progress: string): void;
  done(text: string): void;
  failed(): void;
}

export function spin(label: string, terminal: { write(text: string): unknown }): Spinner {
  let frame = 0;
  let shown = label;
  const draw = (): void => {
    terminal.write(`${CLEAR_LINE}${colors.magenta(FRAMES[frame % FRAMES.length] ?? '')}  ${shown}`);
    frame += 1;
  };
  draw();
  const timer = setInterval(draw, FRAME_MS);
  timer.unref();
  const end = (mark: string, text: string): void => {
    clearInterval(timer);
    terminal.write(`${CLEAR_LINE}${mark}  ${text}\n`);
  };
  return {
    at: (progress) => {
      shown = `${label}: ${progress}`;
    },
    done: (text) => end(colors.green('\u25c7'), text),
    failed: () => end(colors.red('\u25b2'), label),
  };
}
