import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { expect } from 'chai';

const built = join(__dirname, '..', '..', 'dist');
const bootstrap = `
  const { runTransfer } = require(${JSON.stringify(join(built, 'cli', 'run'))});
  const { TransferError } = require(${JSON.stringify(join(built, 'lib', 'index'))});
  const plainly = { json: false, quiet: false, verbose: false, color: true };
  const silent = () => ({ show() {}, close() { console.log('closed'); } });
  const forever = () => new Promise(() => setInterval(() => {}, 1000));
  const finish = (code) => process.exit(code);
`;

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a few lines that use runTransfer in a process of their own; a signal goes out whenever the lines print `ready`.
 */
function script(lines: string, signals: readonly NodeJS.Signals[] = []): Promise<Ended> {
  const child = spawn(process.execPath, ['-e', bootstrap + lines]);
  const ended = { stdout: '', stderr: '' };
  const pending = [...signals];
  child.stdout.on('data', (bytes: Buffer) => {
    ended.stdout += bytes.toString();
    if (bytes.toString().includes('ready')) child.kill(pending.shift());
  });
  child.stderr.on('data', (bytes: Buffer) => (ended.stderr += bytes.toString()));
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, ...ended })));
}

describe('cli/run (built)', () => {
  it('ends with 0 when the work is done, and with the exit code of its failure otherwise', async () => {
    const done = await script('runTransfer(plainly, silent, async () => {}).then(finish)');
    expect(done).to.deep.equal({ code: 0, stdout: 'closed\n', stderr: '' });
    const failed = await script(`
      runTransfer(plainly, silent, async () => { throw new TransferError('mismatch', 'It differs.'); }).then(finish)`);
    expect(failed.code).to.equal(4);
    expect(failed.stderr).to.match(/^sendall: It differs\.\nhint: [^\n]+\n$/);
  });

  it('shows a failure once, whether it came as an event, as a rejection, or as both', async () => {
    const { code, stdout, stderr } = await script(`
      runTransfer({ ...plainly, json: true }, silent, async ({ on }) => {
        on({ event: 'failed', file_name: 'a', code: 'exists', message: 'Taken.' });
        throw new TransferError('exists', 'Taken.');
      }).then(finish)`);
    expect({ code, lines: stdout.split('\n').length, stderr }).to.deep.equal({ code: 6, lines: 2, stderr: '' });
    const several = await script(`
      runTransfer(plainly, silent, async ({ on }) => {
        on({ event: 'failed', file_name: 'a', code: 'exists', message: 'Taken.' });
        throw new TransferError('some-failed', '1 of 2 files failed.');
      }).then(finish)`);
    expect(several).to.deep.equal({ code: 8, stdout: 'closed\n', stderr: '' });
  });

  it('stops cleanly at the first SIGINT or SIGTERM, with one line and 130', async () => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      const stopped = await script(
        `runTransfer(plainly, silent, ({ signal }) => new Promise((resolve, reject) => {
          const waiting = setInterval(() => {}, 1000);
          signal.addEventListener('abort', () => { clearInterval(waiting); reject(new TransferError('interrupted', 'Interrupted.')); });
          console.log('ready');
        })).then(finish)`,
        [signal],
      );
      const stderr = 'sendall: Stopping. Press Ctrl-C again to stop at once.\n';
      expect(stopped).to.deep.equal({ code: 130, stdout: 'ready\nclosed\n', stderr });
    }
  });

  it('leaves at once at the second signal, although the work does not end', async () => {
    const { code, stdout } = await script(
      `runTransfer(plainly, silent, ({ signal }) => {
        signal.addEventListener('abort', () => setTimeout(() => console.log('ready'), 50));
        console.log('ready');
        return forever();
      }).then(finish)`,
      ['SIGINT', 'SIGINT'],
    );
    expect({ code, stdout }).to.deep.equal({ code: 130, stdout: 'ready\nready\nclosed\n' });
  });

  it('makes one sentence of what nobody foresaw, without a stack unless asked', async () => {
    for (const lines of [
      `runTransfer(plainly, silent, async () => { null.x; }).then(finish)`,
      `runTransfer(plainly, silent, () => { setTimeout(() => null.x, 10); return forever(); }).then(finish)`,
      `runTransfer(plainly, silent, () => { Promise.reject(new Error("properties of null")); return forever(); }).then(finish)`,
    ]) {
      const { code, stderr } = await script(lines);
      expect(code).to.equal(1);
      expect(stderr).to.match(/^sendall: .*properties of null.*\nhint: .*--verbose.*\n$/);
      expect((await script(lines.replace('plainly', '{ ...plainly, verbose: true }'))).stderr).to.match(/\n {4}at /);
    }
  });
});
