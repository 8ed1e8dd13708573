import { join } from 'node:path';
import { changePrivateFile, configDirectory, entriesOf, isRecord, readPrivateFile } from '../access/private-file';
import { formatTicket, parseTicket, type Ticket } from '../net/ticket';
import { codeLife } from '../session/deadlines';
import { ignored } from '../trace';
import { type Code, codeName } from './code';

/** A receiver that was started longer ago than that has another code by now, or none; in ms. */
const keptFor = 7 * 86_400_000;

export interface KeptTicket {
  readonly ticket: Ticket;
  /** Whether the other side has said that it knows the key: else the connection may have been lost before it did. */
  readonly agreed: boolean;
  /** Until when, in ms since 1970. */
  readonly until: number;
}

/**
 * The tickets of codes that this user has typed, so that the same command goes on after a cut, though the code is used
 * up. In a file that nobody else can read, and without a word of a code.
 */
export class KeptTickets {
  /** `file` defaults to `codes.json` in the user's configuration directory. */
  constructor(private readonly file = join(configDirectory(), 'codes.json')) {}

  /** Throws `usage` where the file is not ours, or others can read it. */
  find(code: Code): KeptTicket | undefined {
    return this.parse(readPrivateFile(this.file)).get(codeName(code));
  }

  /** One that is not `agreed` on is kept for as long as a code is good. */
  keep(code: Code, ticket: Ticket, agreed = true): Promise<void> {
    const until = Date.now() + (agreed ? keptFor : codeLife);
    return this.change((kept) => kept.set(codeName(code), { ticket, agreed, until }));
  }

  forget(code: Code): Promise<void> {
    return this.change((kept) => kept.delete(codeName(code)));
  }

  private change(change: (kept: Map<string, KeptTicket>) => unknown): Promise<void> {
    return changePrivateFile(this.file, (text) => {
      const kept = this.parse(text);
      change(kept);
      const written = [...kept].map(([name, { ticket, agreed, until }]) => {
        return [name, { ticket: formatTicket(ticket), until, ...(agreed ? {} : { agreed }) }];
      });
      return `${JSON.stringify(Object.fromEntries(written), null, 2)}\n`;
    });
  }

  /** Those that are not too old; what makes no sense is as good as none, since a new code is all that it costs. */
  private parse(text: string | undefined): Map<string, KeptTicket> {
    const kept = new Map<string, KeptTicket>();
    for (const [name, value] of this.entries(text)) {
      if (!isRecord(value)) continue;
      const { ticket, until, agreed = true } = value;
      if (typeof ticket !== 'string' || typeof until !== 'number' || until <= Date.now()) continue;
      try {
        kept.set(name, { ticket: parseTicket(ticket), agreed: agreed === true, until });
      } catch (error) {
        ignored('a new code is all that it costs')(error);
      }
    }
    return kept;
  }

  private entries(text: string | undefined): [string, unknown][] {
    try {
      return entriesOf(text, this.file);
    } catch (error) {
      ignored('it is written anew, and a new code is all that it costs')(error);
      return [];
    }
  }
}
