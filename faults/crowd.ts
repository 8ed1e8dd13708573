// Many senders at once, from one process and with no threads: what a receiver has to bear is not to depend on what a
// sender costs.
import { createHash } from 'node:crypto';
import { connect } from 'node:net';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { type CrowdFile, sendOver } from '../bench/crowd';
import { ownValue } from '../lib/wire/json-object';
import { pieceSize, smallFile } from '../lib/wire/segment';
import { TransferError } from '../lib/errors';
import { parseTicket } from '../lib/net/ticket';
import { retryBeforeHello } from '../lib/session/deadlines';
import type { Link } from '../lib/session/link';
import { DialingConnector } from '../lib/send/connector';

/** What became of one sender: how long, in ms, from dialing to its receipt; or why there is none. */
export interface Fate {
  readonly name: string;
  readonly took?: number;
  readonly failure?: string;
}

/** Sends one file; rejects if there is no receipt for it. */
export type SendOne = (file: CrowdFile) => Promise<void>;

/** On the plain wire, over a connection of its own. */
export function plainly(port: number): SendOne {
  return async (file) => {
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    const reply = await sendOver(socket, file);
    if (reply['type'] !== 'receipt') throw new Error(JSON.stringify(reply));
  };
}

/** In a session of its own: met as our senders meet a receiver, then spoken by hand. */
export function inSession(ticket: string): SendOne {
  return async ({ name, bytes }) => {
    const size = bytes.reduce((sum, { length }) => sum + length, 0);
    const hash = createHash('sha256');
    for (const piece of bytes) hash.update(piece);
    const sha256 = hash.digest('hex');
    const link = await letIn(new DialingConnector(parseTicket(ticket), { algorithm: 'sha256' }));
    try {
      await link.sendList({ type: 'offer' }, [
        { file: 0, type: 'file', name, size, mode: 0o644, mtime: '1700000000000000000' },
      ]);
      await link.send({ type: 'end' });
      let receipt = false;
      for (let header = await link.receive(); header !== undefined; header = await link.receive()) {
        const length = ownValue(header, 'list');
        if (typeof length === 'number') await link.receiveList(length);
        if (header['type'] === 'answer') await sendContent(link, Buffer.concat(bytes), sha256);
        receipt ||= header['type'] === 'receipts';
        if (header['type'] === 'refusal') throw new Error(JSON.stringify(header));
        if (header['type'] === 'done') break;
      }
      if (!receipt) throw new Error('The session ended without a receipt.');
    } finally {
      link.close();
    }
  };
}

/** A small file in a bundle, any other in pieces. */
async function sendContent(link: Link, content: Buffer, sha256: string): Promise<void> {
  const size = content.length;
  if (size <= smallFile) {
    const list = Buffer.from(JSON.stringify([[0, size, sha256]]));
    await link.send({ type: 'bundle', size, list: list.length }, list, content);
    return;
  }
  for (let offset = 0; offset < size; offset += pieceSize) {
    const piece = content.subarray(offset, offset + pieceSize);
    await link.send({ type: 'segment', file: 0, offset, size: piece.length }, piece);
  }
  await link.send({ type: 'close', file: 0, size, digests: { sha256 } });
}

/** All of them at once. */
export function sendAtOnce(files: readonly CrowdFile[], send: SendOne): Promise<Fate[]> {
  return Promise.all(
    files.map(async (file): Promise<Fate> => {
      const began = performance.now();
      try {
        await send(file);
        return { name: file.name, took: performance.now() - began };
      } catch (error) {
        return { name: file.name, failure: error instanceof Error ? error.message : String(error) };
      }
    }),
  );
}

/** As our senders do it: a receiver that has no room at this moment is asked again. */
async function letIn(meeting: DialingConnector): Promise<Link> {
  const began = performance.now();
  for (let pause = 200; ; pause = Math.min(5_000, pause * 2)) {
    const { link, welcome } = await meeting.first(undefined);
    try {
      await welcome;
      return link;
    } catch (error) {
      const hungUp =
        error instanceof TransferError &&
        error.code === 'connection-lost' &&
        performance.now() - began < retryBeforeHello;
      if (!hungUp && !(error instanceof TransferError && error.code === 'timeout')) throw error;
      await sleep(pause * (0.5 + Math.random()));
    }
  }
}
