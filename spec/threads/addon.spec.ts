import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { endThread, startThread } from '../../lib/threads/addon';

const built = path.join(__dirname, '..', '..', 'dist', 'lib', 'threads', 'addon.js');

/** In a thread: takes 200 ms to load, and leaves a file once it has; before that, waits for so many ms. */
const loads = `
  const { parentPort, workerData: { built, loaded, before } } = require('node:worker_threads');
  const sleep = (ms) => { for (const until = Date.now() + ms; Date.now() < until; ); };
  require(built);
  sleep(before);
  require(built).withAddon(() => {
    parentPort.postMessage('begun');
    sleep(200);
    require('node:fs').writeFileSync(loaded, '');
  });
  parentPort.postMessage('done');
  setInterval(() => undefined, 1000);
`;

// Found by the fault experiment killed: who sent to a receiver that was killed could end by SIGABRT, thrown by a half
// loaded addon.
describe('A thread in which an addon is loaded', function () {
  this.timeout(60_000);
  let place: string;
  let loaded: string;
  beforeEach(() => {
    place = mkdtempSync(path.join(tmpdir(), 'sendall-'));
    loaded = path.join(place, 'loaded');
  });
  afterEach(() => rmSync(place, { recursive: true, force: true }));

  const start = (before = 0): Worker =>
    startThread(() => new Worker(loads, { eval: true, workerData: { built, loaded, before } }));

  it('is ended when that is done', async () => {
    const worker = start();
    await once(worker, 'message');
    expect(existsSync(loaded)).to.equal(false);
    await endThread(worker);
    expect(existsSync(loaded)).to.equal(true);
  });

  it('is ended at once before that and after it, and never begins to load then', async () => {
    const early = start(300);
    await once(early, 'online');
    await endThread(early);
    expect(existsSync(loaded)).to.equal(false);
    const late = start();
    for (let message: unknown; message !== 'done';) [message] = (await once(late, 'message')) as unknown[];
    await endThread(late);
    const waiting = start(300);
    await once(waiting, 'online');
    rmSync(loaded);
    await endThread(waiting);
    expect(existsSync(loaded)).to.equal(false);
  });

  // Found by a whole run of the tests: a verification that ended while its thread made a ring ended by SIGABRT.
  it('is not ended either while it makes a ring', async () => {
    const ring = path.join(__dirname, '..', '..', 'dist', 'lib', 'threads', 'ring.js');
    const makes = `
      const { parentPort, workerData: { ring, loaded } } = require('node:worker_threads');
      const addressOf = () => {
        parentPort.postMessage('begun');
        for (const until = Date.now() + 200; Date.now() < until; );
        require('node:fs').writeFileSync(loaded, '');
        return 0;
      };
      require(ring).Ring.open({ addressOf, syscall: () => -1 });
    `;
    const worker = startThread(() => new Worker(makes, { eval: true, workerData: { ring, loaded } }));
    await once(worker, 'message');
    await endThread(worker);
    expect(existsSync(loaded)).to.equal(true);
  });

  it('is waited for when the process ends, whose exit code stays what it is', async () => {
    const script = `
      const { Worker } = require('node:worker_threads');
      const [, built, loaded, loads] = process.argv;
      require(built).startThread(() => new Worker(loads, { eval: true, workerData: { built, loaded, before: 0 } })).once('message', () => process.exit(7));
    `;
    const { code } = (await promisify(execFile)(process.execPath, ['-e', script, built, loaded, loads]).catch(
      (error: unknown) => error,
    )) as { readonly code?: number };
    expect(code).to.equal(7);
    expect(existsSync(loaded)).to.equal(true);
  });
});
