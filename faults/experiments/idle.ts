import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { crowdFiles } from '../../bench/crowd';
import { Burdened, lost } from '../burdened';
import { type Fate, inSession, plainly, sendAtOnce } from '../crowd';
import type { Dose, Experiment, Outcome, Surroundings } from '../experiment';

const strangers: Readonly<Record<Dose, number>> = { short: 3_000, long: 10_000, proof: 1_500 };
/**
 * So many of them are let in beside those who say something, in this experiment's own words: the receiver's limit and
 * some room.
 */
const mostLetIn = 1_100;
/** After so long without a word, in ms, they have to make room. */
const silentFor = 1_500;
/** In MiB. */
const mostResident = 256;
/**
 * How much later a sender may be done than alone, in ms; and how many times as late, on a machine that has other things
 * to do.
 */
const mustStartWithin = 1_000;
const mostTimes = 4;
const dialedTogether = 500;

async function dialSilently(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1').on('error', () => undefined);
  await once(socket, 'connect');
  return socket.resume();
}

/** Connections that say nothing, or begin something and go on with nothing. */
async function dialAll(count: number, port: number): Promise<Socket[]> {
  const sockets: Socket[] = [];
  const beginnings = [Buffer.alloc(0), Buffer.from([200, 0]), Buffer.from([200, 0, 0, 0, 123])];
  while (sockets.length < count) {
    const dialed = await Promise.all(
      Array.from({ length: Math.min(dialedTogether, count - sockets.length) }, () => dialSilently(port)),
    );
    for (const [at, socket] of dialed.entries()) socket.write(beginnings[at % beginnings.length] ?? '');
    sockets.push(...dialed);
  }
  return sockets;
}

async function run(surroundings: Surroundings): Promise<Outcome> {
  const { dose, random, say } = surroundings;
  const count = strangers[dose];
  const receiver = await Burdened.start(surroundings);
  const broken: string[] = [];
  let sockets: Socket[] = [];
  try {
    const files = crowdFiles(7, random.bytes(1024 * 1024));
    const [plain, session] = [plainly(receiver.port), inSession(receiver.ticket)];
    const both = async (first: number): Promise<Fate[]> => [
      ...(await sendAtOnce(files.slice(first, first + 1), plain)),
      ...(await sendAtOnce(files.slice(first + 1, first + 2), session)),
    ];
    // Before the first ones some things are started that are there from then on.
    const warm = await both(0);
    const alone = await both(2);
    receiver.mark();
    sockets = await dialAll(count, receiver.port);
    // Whoever dials behind them is let in behind them: then all of them are.
    const [behind = { name: '' }] = await sendAtOnce(files.slice(6), plain);
    const beside = await both(4);
    for (const [at, { name, took = 0 }] of beside.entries()) {
      const { took: before = 0 } = alone[at] ?? {};
      if (took > mustStartWithin + mostTimes * before)
        broken.push(
          `${name} took ${took.toFixed(0)} ms beside ${String(count)} idle connections, and ${before.toFixed(0)} alone.`,
        );
    }
    const [plainTook = 0, sessionTook = 0] = beside.map(({ took = 0 }) => Math.round(took));
    await pause(silentFor);
    // Whoever comes next finds room.
    sockets.push(await dialSilently(receiver.port));
    await pause(500);
    const letIn = receiver.descriptors;
    if (letIn > mostLetIn)
      broken.push(`${String(letIn)} descriptors are open for ${String(count)} connections that say nothing.`);
    say(`${String(letIn)} descriptors beside ${String(count)} idle connections`);
    for (const socket of sockets) socket.destroy();
    broken.push(
      ...lost([...warm, ...alone, ...beside, behind], files, receiver.place),
      ...(await receiver.complaints(mostResident)),
    );
    return {
      tries: count,
      broken,
      figures: {
        let_in_ms: Math.round(behind.took ?? 0),
        plain_ms: plainTook,
        session_ms: sessionTook,
        descriptors_beside: letIn,
        ...receiver.figures,
      },
    };
  } finally {
    for (const socket of sockets) socket.destroy();
    await receiver.end();
  }
}

/** 10,000 connections that say nothing. */
export const idleCrowd: Experiment = {
  name: 'idle',
  alone: true,
  promise:
    'Thousands of connections that say nothing keep no good sender waiting, make room for others, and leave nothing open.',
  run,
  sabotages: [
    {
      name: 'any number of strangers is let in',
      edits: [{ file: 'lib/receive/receiver.js', from: 'this.unidentified.add(connection);', to: '' }],
    },
  ],
};
