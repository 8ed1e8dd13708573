// What went wrong in a transfer, in words: each failure names its file once, and those of one kind are told together.
import type { TransferEvent } from '../lib/index';
import { formatCount } from './size';
import type { Terminal } from './terminal';

export type Failed = TransferEvent & { event: 'failed' };

/** Failures of one kind that are told one by one; of the others their number. */
const mostOfAKind = 3;

/** The failures of one transfer by their reason, so that a thousand of one kind do not hide the one of another. */
export class Failures {
  count = 0;
  private readonly kinds = new Map<string, number>();

  /**
   * Counts a failure, but for a relay or a network that cannot be used, and says whether it is among the first of its
   * kind.
   */
  take(event: Failed): boolean {
    if (event.file_name !== undefined || event.code !== 'cannot-connect') this.count++;
    const kind = reasonOf(event);
    const before = this.kinds.get(kind) ?? 0;
    this.kinds.set(kind, before + 1);
    return before < mostOfAKind;
  }

  /** Tells once how many more there were of each kind, behind whose they are. */
  tellRest(terminal: Terminal, whose = ''): void {
    if (terminal.settings.verbose) return;
    for (const [kind, count] of this.kinds) {
      if (count <= mostOfAKind) continue;
      terminal.complain(`${whose}${formatCount(count - mostOfAKind, 'more file')}: ${kind}`);
      this.kinds.set(kind, mostOfAKind);
    }
  }

  forget(): void {
    this.count = 0;
    this.kinds.clear();
  }
}

/** In what is longer nobody looks for a name, in characters: who sent it chose both. */
const longestSearched = 8_192;

/** What went wrong, without the name of the file that it went wrong with. */
function reasonOf({ file_name: name, message }: Failed): string {
  if (name === undefined) return message;
  let without = '';
  let from = 0;
  for (let at = nextAlone(message, name, 0); at !== -1; at = nextAlone(message, name, from)) {
    without += at === 0 ? '' : `${message.slice(from, at)}it`;
    from = at + name.length;
    if (at === 0) from += /^[\s:]*/.exec(message.slice(from))?.[0].length ?? 0;
  }
  without += message.slice(from);
  return without === '' ? message : `${without.charAt(0).toUpperCase()}${without.slice(1)}`;
}

/**
 * Why a connection was lost, behind a sentence that says that it was; empty where the message says no more than that.
 */
export function reasonOfLoss(message: string): string {
  const reason = message.replace(/^The connection was lost(?: while sending)?(?:\.$|: )/, '');
  return reason === '' ? '' : ` ${reason.charAt(0).toUpperCase()}${reason.slice(1)}`;
}

/** Messages that do not name their file by themselves get it in front. */
export function sentenceOf({ file_name: name, message }: Pick<Failed, 'file_name' | 'message'>): string {
  return name === undefined || nextAlone(message, name, 0) !== -1 ? message : `${name}: ${message}`;
}

/**
 * Where a name next stands by itself, -1 for nowhere: a file called `a` is not named by every word with that letter. A
 * peer chooses names, so they become no pattern.
 */
function nextAlone(text: string, name: string, from: number): number {
  if (name === '' || text.length > longestSearched) return -1;
  for (let at = text.indexOf(name, from); at !== -1; at = text.indexOf(name, at + 1))
    if (!/[\w.-]/.test(text.charAt(at - 1)) && !/[\w-]/.test(text.charAt(at + name.length))) return at;
  return -1;
}
