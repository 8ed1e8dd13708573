import { type ChildProcess, spawn } from 'node:child_process';
import { rm, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { Connection } from '../../lib/net/connection';
import { encodeFrame } from '../../lib/wire/frame';
import { LocalStore } from '../../lib/store/local/local';
import type { StagedFile } from '../../lib/store/staged-file';
import { WholeFiles } from '../../lib/store/whole-files';
import { receivePlain } from '../../lib/receive/plain-receive';
import { pair } from '../net/pair';
import { md5, RawSender } from './raw-sender';
import { RawReceiver } from '../receive/raw-receiver';
import { temporaryDirectory } from '../receive/receive-directory';

const mebibyte = 1024 * 1024;
const gibibyte = 1024 * mebibyte;
/** What two sockets' buffers on this machine hold between them, at most. */
const socketBuffers = 40 * mebibyte;

interface Report {
  /** Resident memory, in bytes. */
  readonly rss: number;
  readonly phase: string;
  readonly done: number;
  readonly port?: number;
}

/** The built library in a process of its own, so that its memory is nobody else's; it reports ten times a second. */
class Watched {
  readonly reports: Report[] = [];
  private readonly child: ChildProcess;

  constructor(script: string, ...words: readonly string[]) {
    const library = path.join(__dirname, '..', '..', 'dist', 'lib', 'index.js');
    const program = `
      const { send, createReceiver } = require(process.argv[1]);
      let state = { phase: '', done: 0 };
      const on = (event) => {
        if (event.event === 'progress') state = { ...state, phase: event.phase, done: event.done };
        if (event.event === 'listening') state = { ...state, port: event.port };
      };
      setInterval(() => process.send({ rss: process.memoryUsage.rss(), ...state }), 100);
      ${script}`;
    this.child = spawn(process.execPath, ['-e', program, library, ...words], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    this.child.on('message', (report) => this.reports.push(report as Report));
  }

  async until(wanted: (report: Report) => boolean): Promise<Report> {
    for (;;) {
      const found = this.reports.find(wanted);
      if (found) return found;
      if (this.child.exitCode !== null)
        throw new Error(`it ended with ${String(this.child.exitCode)}; was it built (npm run build)?`);
      await sleep(20);
    }
  }

  /** Resolves once half a second has brought less than `bytes` more: what lies between the two ends is full. */
  async untilHeld(bytes: number): Promise<void> {
    for (;;) {
      const sent = this.reports.filter(({ phase }) => phase === 'send').map(({ done }) => done);
      const last = sent.slice(-6);
      const [first = 0] = last;
      if (last.length === 6 && first > 0 && (last.at(-1) ?? 0) - first < bytes) return;
      await sleep(100);
    }
  }

  /** The lowest and the highest resident memory of the next `ms`. */
  async memoryFor(ms: number): Promise<{ readonly least: number; readonly most: number }> {
    const from = this.reports.length;
    await sleep(ms);
    const seen = this.reports.slice(from).map(({ rss }) => rss);
    return { least: Math.min(...seen), most: Math.max(...seen) };
  }

  kill(): Promise<void> {
    return new Promise((resolve) => {
      this.child.once('close', () => resolve());
      this.child.kill('SIGKILL');
    });
  }
}

describe('backpressure', function () {
  this.timeout(60_000);

  it('a receiver that reads 1 MiB/s holds a sender of 2 GiB to a flat memory, and to what it reads', async () => {
    const place = await temporaryDirectory();
    const sparse = path.join(place, 'sparse');
    await writeFile(sparse, '');
    await truncate(sparse, 2 * gibibyte);
    const receiver = await RawReceiver.listen(async (connection) => {
      await connection.header();
      for (;;) {
        await connection.read(mebibyte / 20);
        await sleep(50);
      }
    });
    const sender = new Watched(
      `send({ paths: [process.argv[2]], target: process.argv[3], useCache: false, on });`,
      sparse,
      receiver.target,
    );
    try {
      await sender.until(({ phase, done }) => phase === 'send' && done > 0);
      await sender.untilHeld(mebibyte);
      const { least, most } = await sender.memoryFor(3500);
      expect(most - least, 'growth').to.be.below(12 * mebibyte);
      expect(most).to.be.below(140 * mebibyte);
      const read = receiver.connections[0]?.bytesRead ?? 0;
      expect(read).to.be.within(2 * mebibyte, 20 * mebibyte);
      expect(sender.reports.at(-1)?.done).to.be.below(read + socketBuffers);
    } finally {
      await sender.kill();
      await receiver.close();
      await rm(place, { recursive: true });
    }
  });

  it('senders of 1 MiB/s, forty of them in files of 2 GiB: the receiver’s memory stays flat', async () => {
    const place = await temporaryDirectory(true);
    const receiver = new Watched(
      `createReceiver({ directory: process.argv[2], on }).then((receiver) => receiver.listen('127.0.0.1:0'));`,
      place,
    );
    const senders: RawSender[] = [];
    let sending: NodeJS.Timeout | undefined;
    try {
      const { port = 0 } = await receiver.until((report) => report.port !== undefined);
      // Fast ones first: then the memory that the receiver sets aside has been used once, and counts as resident.
      await Promise.all(
        ['one', 'two', 'three'].map(async (name) => {
          const fast = await RawSender.dial(port);
          await fast.send(
            encodeFrame({ file_name: name, file_size: 128 * mebibyte, md5: md5('') }),
            Buffer.alloc(128 * mebibyte),
          );
          fast.finish();
          fast.socket.resume();
          await fast.closed;
        }),
      );
      for (let at = 0; at < 40; at++) {
        const sender = await RawSender.dial(port);
        await sender.send(encodeFrame({ file_name: String(at), file_size: 2 * gibibyte, md5: md5('') }));
        senders.push(sender);
      }
      const piece = Buffer.alloc(mebibyte / 10);
      sending = setInterval(() => {
        for (const { socket } of senders) if (socket.writableLength < mebibyte) socket.write(piece);
      }, 100);
      // Each has a piece of memory of its own, which is filled at its rate: a slow machine takes a while for all forty.
      let { least, most } = { least: 0, most: Infinity };
      for (let looks = 0; looks < 5 && most - least >= 24 * mebibyte; looks++) {
        await sleep(2000);
        ({ least, most } = await receiver.memoryFor(3000));
      }
      expect(most - least, 'growth').to.be.below(24 * mebibyte);
      expect(most).to.be.below(200 * mebibyte);
    } finally {
      clearInterval(sending);
      for (const { socket } of senders) socket.destroy();
      await receiver.kill();
      await rm(place, { recursive: true });
    }
  });

  it('a store that takes 2 MiB/s: the sender cannot send more than it takes and the sockets hold', async () => {
    const made = await pair('accepted');
    const { stream, peer } = made;
    let taken = 0;
    const directory = await temporaryDirectory();
    const store = await LocalStore.open(directory);
    const session = await store.session({ algorithm: 'md5', peer: 'plain', ifExists: 'refuse', inOrder: true });
    const files = new WholeFiles(session, 'refuse');
    const receiving = receivePlain(
      new Connection(stream, 'peer'),
      {
        files: slowed(files, 2 * mebibyte, (count) => (taken += count)),
        verified: 'cache',
        admission: files.admission,
      },
      { ifExists: 'refuse', allowHidden: false, on: () => undefined },
      { silence: 1000, whole: 1000 },
      { silence: 1000, whole: 1000 },
    );
    peer.write(encodeFrame({ file_name: 'large', file_size: 100 * mebibyte, md5: md5('') }));
    peer.write(Buffer.alloc(100 * mebibyte));
    await sleep(2000);
    const sent = peer.bytesWritten - peer.writableLength;
    expect(taken).to.be.within(mebibyte, 8 * mebibyte);
    expect(stream.bytesRead - taken, 'read ahead of the store').to.be.below(2 * mebibyte);
    expect(sent).to.be.below(taken + socketBuffers);
    await made.close();
    await receiving;
    await files.close();
    await store.close();
    await rm(directory, { recursive: true });
  });
});

/** Files whose disk takes `rate` bytes a second. */
function slowed(whole: WholeFiles, rate: number, took: (count: number) => void): Pick<WholeFiles, 'stage' | 'put'> {
  return {
    put: (...words) => whole.put(...words),
    async stage(file): Promise<StagedFile> {
      const staged = await whole.stage(file);
      return {
        verify: (onProgress) => staged.verify(onProgress),
        commit: () => staged.commit(),
        discard: () => staged.discard(),
        write: async (fill) => {
          const count = await staged.write(fill);
          took(count);
          await sleep((count / rate) * 1000);
          return count;
        },
      };
    },
  };
}
