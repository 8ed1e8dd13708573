// What a key does that wants everything for itself, one session of it each: the rig does it to builds, specs to ours.
import { readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { parseTicket } from '../lib/index';
import { Connection } from '../lib/net/connection';
import { dialSecured } from '../lib/net/tls';
import { introduce } from '../lib/session/opening';
import { dialSealed, type SealedConnection } from '../lib/session/sealed-opening';
import { newSession, RawSession, type Said } from '../spec/session/raw-session';

/** How many backups, whose names begin like that, the process of this id has open. Linux alone tells that. */
export function backupsOpenIn(pid: number | undefined, beginning = ''): number {
  const descriptors = `/proc/${String(pid)}/fd`;
  const names = readdirSync(descriptors).flatMap((fd) => {
    try {
      return /\/snapshots\/([^/]+)\//.exec(readlinkSync(join(descriptors, fd)))?.[1] ?? [];
    } catch {
      return []; // closed since it was listed
    }
  });
  return new Set(names.filter((name) => name.startsWith(beginning))).size;
}

/** Begins a session, and what it was answered. */
export async function begin(
  ticket: string,
  options: Parameters<typeof RawSession.dial>[1],
): Promise<{ readonly raw: RawSession; readonly answer: Said }> {
  const raw = await RawSession.dial(ticket, options);
  return { raw, answer: await Promise.race([raw.first('hello'), raw.first('refusal')]) };
}

/** A session that offers sealed connections, whoever wants them. */
export interface SealingSession {
  /** Makes one of this number. Rejects where it is not taken. */
  readonly another: (number: number) => Promise<SealedConnection>;
  readonly end: () => void;
}

/** Rejects like `introduce` and `dialSecured`. */
export async function sealing(ticket: string): Promise<SealingSession> {
  const target = parseTicket(ticket);
  const { stream, peer, secret } = await dialSecured(target);
  const connection = new Connection(stream, peer);
  const session = newSession();
  await introduce(connection, { role: 'sender', session, connection: 0, sealed: ['aes-256-gcm'] });
  return {
    another: (number) => dialSealed(target.address, { session, secret }, 'aes-256-gcm', number, {}),
    end: () => connection.close(),
  };
}

/** Takes a sealed connection down. */
export function hangUp({ descriptor }: SealedConnection): void {
  descriptor.end();
  descriptor.close();
}
