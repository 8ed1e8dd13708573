/**
 * What came of codes that this user has typed: the tickets, so that the same command goes on after a cut, though the
 * code is used up. In a file that nobody else can read, and without a word of a code.
 */
import { join } from 'node:path';
import { changePrivateFile, configDirectory, entriesOf, isRecord, readPrivateFile } from '../access/private-file';
import { formatTicket, parseTicket, type Ticket } from '../net/ticket';
import { type Code, codeName } from './code';

/** A receiver that was started longer ago than that has another code by now, or none; in ms. */
const keptFor = 7 * 86_400_000;

interface KeptTicket {
  readonly ticket: string;
  /** Until when, in ms since 1970. */
  readonly until: number;
}

export class KeptTickets {
  /** `file` defaults to `codes.json` in the user's configuration directory. */
  constructor(private readonly file = join(configDirectory(), 'codes.json')) {}

  /** Throws `usage` where the file is damaged or others can read it. */
  find(code: Code): Ticket | undefined {
    const kept = this.parse(readPrivateFile(this.file)).get(codeName(code));
    return kept && parseTicket(kept.ticket);
  }

  keep(code: Code, ticket: Ticket): Promise<void> {
    return this.change((kept) =>
      kept.set(codeName(code), { ticket: formatTicket(ticket), until: Date.now() + keptFor }),
    );
  }

  forget(code: Code): Promise<void> {
    return this.change((kept) => kept.delete(codeName(code)));
  }

  private change(change: (kept: Map<string, KeptTicket>) => unknown): Promise<void> {
    return changePrivateFile(this.file, (text) => {
      const kept = this.parse(text);
      change(kept);
      return `${JSON.stringify(Object.fromEntries(kept), null, 2)}\n`;
    });
  }

  /** Those that are not too old; what makes no sense is as good as none, since a new code is all that it costs. */
  private parse(text: string | undefined): Map<string, KeptTicket> {
    const kept = new Map<string, KeptTicket>();
    for (const [name, value] of entriesOf(text, this.file)) {
      if (!isRecord(value)) continue;
      const { ticket, until } = value;
      if (typeof ticket === 'string' && typeof until === 'number' && until > Date.now())
        kept.set(name, { ticket, until });
    }
    return kept;
  }
}
