import { crowdFiles } from '../../bench/crowd';
import { Burdened, lost, timesOf } from '../burdened';
import type { Sabotage } from '../build';
import { inSession, plainly, sendAtOnce, type SendOne } from '../crowd';
import type { Dose, Experiment, Outcome, Surroundings } from '../experiment';

const mebi = 1024 * 1024;
/**
 * In MiB. Each connection costs some 50 KiB, with TLS twice that; what is left is what the receiver of a single large
 * file has.
 */
const mostResident = 256;
/** In bytes: of the crowd that sends small files, which come whole and are stored in groups. */
const smallSize = 5_000;
const senders: Readonly<Record<Dose, number>> = { short: 200, long: 1000, proof: 60 };

async function run(
  surroundings: Surroundings,
  size: number,
  sendTo: (receiver: Burdened) => SendOne,
): Promise<Outcome> {
  const { dose, random, say } = surroundings;
  const count = senders[dose];
  const receiver = await Burdened.start(surroundings);
  try {
    // One of them comes before, so that what is opened once and for all is open.
    const [first = [], files = []] = [
      crowdFiles(1, random.bytes(size)),
      crowdFiles(count + 1, random.bytes(size)).slice(1),
    ];
    const send = sendTo(receiver);
    const ahead = await sendAtOnce(first, send);
    receiver.mark();
    const fates = await sendAtOnce(files, send);
    const broken = [
      ...lost([...ahead, ...fates], [...first, ...files], receiver.place),
      ...(await receiver.complaints(mostResident)),
    ];
    say(`${String(fates.filter(({ took }) => took !== undefined).length)} of ${String(count)} senders have a receipt`);
    return { tries: count, broken, figures: { ...timesOf(fates), ...receiver.figures } };
  } finally {
    await receiver.end();
  }
}

const leftOpen: Sabotage = {
  name: 'the descriptor of a file that is stored stays open',
  edits: [{ file: 'lib/store/local/partial-bytes.js', from: 'await this.target.handle.close();', to: '' }],
};

/** 1,000 connections of the plain wire at the same moment. */
export const plainCrowd: Experiment = {
  name: 'crowd-plain',
  alone: true,
  promise:
    'A crowd of senders on the plain wire at the same moment loses nobody, and leaves nothing open; the receiver stays under 256 MiB.',
  run: (surroundings) => run(surroundings, mebi, ({ port }) => plainly(port)),
  sabotages: [
    leftOpen,
    {
      name: 'memory of every transfer is kept',
      edits: [
        {
          file: 'lib/receive/plain-receive.js',
          from: 'this.tally.add(done);',
          to: 'this.tally.add(done); (globalThis.kept ??= []).push(Buffer.alloc(8 << 20, 1));',
        },
      ],
    },
  ],
};

/** 1,000 sessions at the same moment. */
export const sessionCrowd: Experiment = {
  name: 'crowd-session',
  alone: true,
  promise:
    'A crowd of sessions at the same moment loses nobody: who finds no room waits or comes again; the receiver leaves nothing open and stays under 256 MiB.',
  run: (surroundings) => run(surroundings, mebi, ({ ticket }) => inSession(ticket)),
  sabotages: [
    {
      name: 'nobody waits for a turn',
      edits: [
        {
          file: 'lib/receive/turns.js',
          from: 'if (!(0, fair_shares_1.fits)(this.line.length, this.mostWaiting, ahead))',
          to: 'if (true)',
        },
        {
          file: 'lib/receive/turns.js',
          from: "TransferError('timeout', this.why)",
          to: "TransferError('quota', this.why)",
        },
        { file: 'lib/receive/limits.js', from: 'mostSessions = 64;', to: 'mostSessions = 4;' },
      ],
    },
    {
      name: 'the descriptor of a file that came in pieces stays open',
      edits: [{ file: 'lib/store/local/partial-bytes.js', from: 'await this.target.handle.close();', to: '' }],
    },
  ],
};

/** 1,000 sessions at the same moment, each of one small file. */
export const smallCrowd: Experiment = {
  name: 'crowd-small',
  alone: true,
  promise:
    'A crowd of sessions that send small files loses nobody either, and needs no more threads than one of them; the receiver leaves nothing open and stays under 256 MiB.',
  run: (surroundings) => run(surroundings, smallSize, ({ ticket }) => inSession(ticket)),
  sabotages: [
    {
      name: 'every session has threads of its own, which nobody ends',
      edits: [
        {
          file: 'lib/store/local/batch.js',
          from: 'this.ground = ground;',
          to: "this.ground = { ...ground, threads: new (require('./batch-threads').BatchThreads)(ground.threads.setup) };",
        },
      ],
    },
  ],
};
