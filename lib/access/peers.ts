import { join } from 'node:path';
import { TransferError } from '../errors';
import { formatTicket, parseTicket, type Ticket } from '../net/ticket';
import {
  changePrivateFile,
  checkKeyName,
  configDirectory,
  damaged,
  entriesOf,
  isKeyName,
  readPrivateFile,
} from './private-file';

/** A machine that is known by a name. */
export interface Peer {
  readonly name: string;
  readonly ticket: Ticket;
}

/** The machines that this user knows by name, each with its ticket, in `peers.json`. */
export class Peers {
  readonly #file: string;

  /** `file` defaults to `peers.json` in the user's configuration directory. */
  constructor(file: string = join(configDirectory(), 'peers.json')) {
    this.#file = file;
  }

  /**
   * All of them by name. Rejects with `usage` where the file is damaged or others can read it, as all that follow do.
   */
  async list(): Promise<Peer[]> {
    return this.#parse(readPrivateFile(this.#file)).sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** The ticket of `name`; undefined where nobody is called so, which holds for whatever cannot be a name. */
  async find(name: string): Promise<Ticket | undefined> {
    if (!isKeyName(name)) return undefined;
    return (await this.list()).find((peer) => peer.name === name)?.ticket;
  }

  /** Rejects with `usage` where the name is taken, or could be taken for an address. */
  async add(name: string, ticket: Ticket): Promise<void> {
    checkKeyName(name);
    await this.#change((peers) => {
      if (peers.every((peer) => peer.name !== name)) return [...peers, { name, ticket }];
      throw new TransferError('usage', `There is a peer ${name} already.`, {
        hint: `sendall peers remove ${name} takes it away.`,
      });
    });
  }

  /** Rejects with `usage` where nobody is called so. */
  async remove(name: string): Promise<void> {
    checkKeyName(name);
    await this.#change((peers) => {
      const left = peers.filter((peer) => peer.name !== name);
      if (left.length < peers.length) return left;
      throw new TransferError('usage', `There is no peer ${name}.`, {
        hint: 'sendall peers list names those that there are.',
      });
    });
  }

  async #change(change: (peers: Peer[]) => Peer[]): Promise<void> {
    await changePrivateFile(this.#file, (text) => {
      const entries = change(this.#parse(text)).map(({ name, ticket }) => [name, formatTicket(ticket)]);
      return `${JSON.stringify(Object.fromEntries(entries), null, 2)}\n`;
    });
  }

  #parse(text: string | undefined): Peer[] {
    return entriesOf(text, this.#file).map(([name, ticket]) => {
      const shown = JSON.stringify(name.slice(0, 64));
      if (!isKeyName(name)) throw damaged(this.#file, `${shown} cannot be the name of a peer`);
      if (typeof ticket !== 'string') throw damaged(this.#file, `the ticket of ${shown} is not text`);
      try {
        return { name, ticket: parseTicket(ticket) };
      } catch {
        throw damaged(this.#file, `the ticket of ${shown} cannot be understood`);
      }
    });
  }
}
