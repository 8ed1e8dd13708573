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
  /** The groups that it is in, sorted; absent for none. */
  readonly groups?: readonly string[];
}

/**
 * The machines that this user knows by name, each with its ticket, in `peers.json`: `{"NAME": "sendall://…"}`, and
 * `{"NAME": {"ticket": "sendall://…", "groups": ["GROUP"]}}` where it is in groups. A group is there as long as
 * somebody is in it.
 */
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

  /** Who is in a group, by name; empty where there is no such group. */
  async inGroup(group: string): Promise<Peer[]> {
    return (await this.list()).filter(({ groups = [] }) => groups.includes(group));
  }

  /** The groups that there are, sorted. */
  async groups(): Promise<string[]> {
    return [...new Set((await this.list()).flatMap(({ groups = [] }) => groups))].sort();
  }

  /** Puts peers into a group, where they may be already. Rejects with `usage` where one of them is not known. */
  async join(group: string, names: readonly string[]): Promise<void> {
    checkKeyName(group);
    await this.#regroup(names, (groups) => [...groups.filter((each) => each !== group), group].sort());
  }

  /** Takes peers out of a group. Rejects with `usage` where one of them is not known, or not in it. */
  async leave(group: string, names: readonly string[]): Promise<void> {
    checkKeyName(group);
    await this.#regroup(names, (groups, name) => {
      if (groups.includes(group)) return groups.filter((each) => each !== group);
      throw new TransferError('usage', `${name} is not in ${group}.`, {
        hint: 'sendall peers list shows who is in which group.',
      });
    });
  }

  async #regroup(
    names: readonly string[],
    change: (groups: readonly string[], name: string) => readonly string[],
  ): Promise<void> {
    await this.#change((peers) => {
      for (const name of names)
        if (peers.every((peer) => peer.name !== name))
          throw new TransferError('usage', `There is no peer ${name}.`, {
            hint: 'sendall peers list names those that there are.',
          });
      return peers.map((peer) =>
        names.includes(peer.name) ? { ...peer, groups: change(peer.groups ?? [], peer.name) } : peer,
      );
    });
  }

  async #change(change: (peers: Peer[]) => Peer[]): Promise<void> {
    await changePrivateFile(this.#file, (text) => {
      const entries = change(this.#parse(text)).map(({ name, ticket, groups = [] }) => [
        name,
        // As text where that is all: versions without groups read it.
        groups.length === 0 ? formatTicket(ticket) : { ticket: formatTicket(ticket), groups },
      ]);
      return `${JSON.stringify(Object.fromEntries(entries), null, 2)}\n`;
    });
  }

  #parse(text: string | undefined): Peer[] {
    return entriesOf(text, this.#file).map(([name, entry]) => {
      const shown = JSON.stringify(name.slice(0, 64));
      if (!isKeyName(name)) throw damaged(this.#file, `${shown} cannot be the name of a peer`);
      const { ticket, groups } =
        typeof entry === 'object'
          ? ({ ...entry } as { ticket?: unknown; groups?: unknown })
          : { ticket: entry, groups: undefined };
      if (typeof ticket !== 'string') throw damaged(this.#file, `the ticket of ${shown} is not text`);
      if (groups !== undefined && !isListOfNames(groups))
        throw damaged(this.#file, `the groups of ${shown} are no list of names`);
      try {
        return { name, ticket: parseTicket(ticket), ...(groups ? { groups } : {}) };
      } catch {
        throw damaged(this.#file, `the ticket of ${shown} cannot be understood`);
      }
    });
  }
}

function isListOfNames(groups: unknown): groups is readonly string[] {
  return Array.isArray(groups) && groups.every((each) => typeof each === 'string' && isKeyName(each));
}
