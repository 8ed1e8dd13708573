import { expect } from 'chai';
import type { TransferEvent } from '../../lib/index';
import { ProgressBar } from '../../cli/progress-bar';
import { at, ended, size, started, summary } from './progress-events';
import { openTerminal } from './screen';

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** What stays on the screen: each line after its last return to the first column. */
function remains(text: string): string[] {
  const lines = text.split('\n').map((line) => line.slice(line.lastIndexOf('\u001b[1G') + 1));
  return lines.map((line) => line.replaceAll(/\u001b?\[\d*[GK]|\u001b[78]/g, ''));
}

describe('cli/progress-bar', () => {
  it('draws nothing, and loads no bar, for what is over at once', () => {
    const { terminal, err } = openTerminal({ tty: true });
    const bar = new ProgressBar(terminal, () => 0);
    for (const event of [started, at(size), ended, summary]) bar.show(event);
    bar.stop();
    expect(err.text).to.equal('');
  });

  it('draws the bar, writes lines above it, and leaves only the lines', async () => {
    const { terminal, err } = openTerminal({ tty: true });
    let clock = 0;
    const bar = new ProgressBar(terminal, () => clock);
    bar.show(started);
    clock = 400;
    bar.show(at(size / 2));
    expect(err.text).to.match(/\[=+-+\] {3}50 %/);
    terminal.say('a line');
    expect(err.text).not.to.include('a line');
    await pause(150);
    expect(err.text).to.include('a line\n');
    terminal.say('the last line before the end');
    bar.stop();
    terminal.say('after');
    expect(remains(err.text)).to.deep.equal(['a line', 'the last line before the end', 'after', '']);
  });

  it('follows the progress without being asked, and takes the bar away with the summary', async () => {
    const { terminal, err } = openTerminal({ tty: true });
    let clock = 0;
    const bar = new ProgressBar(terminal, () => clock);
    bar.show(started);
    clock = 400;
    bar.show(at(size / 4));
    clock = 600;
    bar.show(at(size));
    await pause(250);
    expect(err.text).to.include('100 %');
    bar.show(ended);
    bar.show(summary);
    const { length } = err.text;
    await pause(250);
    expect(err.text).to.have.length(length);
    expect(remains(err.text)).to.deep.equal(['']);
  });

  it('keeps the sums of a transfer beside strangers that fail', async () => {
    const { terminal, err } = openTerminal({ tty: true });
    let clock = 0;
    const bar = new ProgressBar(terminal, () => clock);
    const id = '1'.repeat(32);
    const shown = (event: TransferEvent): void => bar.show({ ...event, id });
    shown({ event: 'progress', file_name: '', phase: 'scan', done: 0, total: 3 * size, files: 3 });
    shown(started);
    shown(ended);
    bar.show({ event: 'failed', code: 'not-authorized', message: 'Somebody has no key.' });
    shown(started);
    clock = 400;
    shown(at(size / 2));
    await pause(250);
    expect(remains(err.text).join('')).to.include('1 of 3 files');
    bar.stop();
  });

  it('keeps the sums of a transfer in which a file failed, and lets them go where it failed as a whole', async () => {
    const { terminal, err } = openTerminal({ tty: true });
    let clock = 0;
    const bar = new ProgressBar(terminal, () => clock);
    const failed = { event: 'failed', code: 'source-unreadable', message: 'It may not be read.' } as const;
    bar.show({ event: 'progress', file_name: '', phase: 'scan', done: 0, total: 3 * size, files: 3 });
    bar.show({ ...failed, file_name: 'unreadable' });
    bar.show(started);
    clock = 400;
    bar.show(at(size / 2));
    await pause(250);
    expect(remains(err.text).join('')).to.match(/0 of 3 files|1 of 3 files/);
    bar.show(ended);
    bar.show(failed);
    const { length } = err.text;
    bar.show(started);
    bar.show(at(size / 2));
    await pause(250);
    expect(err.text, 'a transfer has just begun').to.have.length(length);
    bar.stop();
  });

  it('neither hides the cursor, nor changes how lines wrap, nor listens for Ctrl-C', () => {
    const listeners = process.listenerCount('SIGINT');
    const { terminal, err } = openTerminal({ tty: true });
    let clock = 0;
    const bar = new ProgressBar(terminal, () => (clock += 400));
    bar.show(started);
    bar.show(at(1));
    expect(process.listenerCount('SIGINT')).to.equal(listeners);
    bar.stop();
    expect(err.text).not.to.match(/\u001b\[\?/);
  });
});
