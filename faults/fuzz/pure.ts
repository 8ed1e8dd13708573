import type { Random } from '../random';
import { conversations, type ConversationSeed, encodePart, vectorBytes } from './corpus';
import { headersIn, isSafe } from './models';
import type { Modules } from './modules';
import { anyValue, mutateBytes, mutateConversation, mutateValue } from './mutate';

type Kind = keyof ReturnType<typeof vectorBytes>;

/** Changed inputs for all that reads bytes and touches nothing. */
export class PureFuzz {
  private readonly corpus = vectorBytes();
  private readonly seeds = conversations();
  private readonly kinds: readonly Kind[] = [
    'frames',
    'frames',
    'headers',
    'headers',
    'headers',
    'lists',
    'lists',
    'manifests',
    'names',
    'tickets',
  ];

  constructor(private readonly modules: Modules) {}

  /**
   * One input. @returns a sentence with the input if something else came of it than a result or a failure that may be.
   */
  try(random: Random): string | undefined {
    const kind = random.oneOf(this.kinds);
    const bytes = this.input(kind, random);
    try {
      this.read(kind, bytes);
      return undefined;
    } catch (error) {
      return `${kind} ${bytes.subarray(0, 2000).toString('hex')}: ${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}`;
    }
  }

  private input(kind: Kind, random: Random): Buffer {
    const known = random.oneOf(this.corpus[kind]);
    if (kind === 'frames' && random.next() < 0.5)
      return Buffer.concat(mutateConversation(random.oneOf(this.seeds), random, this.seeds).map(encodePart));
    if ((kind === 'headers' || kind === 'lists') && random.next() < 0.5)
      return Buffer.from(JSON.stringify(mutateValue(jsonOf(known) ?? anyValue(random), random)));
    return mutateBytes(known, random, this.corpus[kind]);
  }

  private read(kind: Kind, bytes: Buffer): void {
    const { json, message, sessionMessage, list, basis, manifest, name, ticket } = this.modules;
    switch (kind) {
      case 'frames':
        this.only(['bad-frame'], () =>
          headersIn(this.modules, [bytes.subarray(0, 7), bytes.subarray(7, 90), bytes.subarray(90)]),
        );
        break;
      case 'headers': {
        const header = this.only(['bad-frame'], () => json.parseJsonObject(bytes));
        if (header === undefined) return;
        for (const read of [
          message.parseFileHeader,
          message.parseReply,
          sessionMessage.parseFromSender,
          sessionMessage.parseFromReceiver,
        ])
          this.only(['bad-header', 'name'], () => read(header));
        break;
      }
      case 'lists': {
        const entries = this.only(['bad-frame', 'bad-header'], () => list.parseEntries(bytes, { allowHidden: true }));
        for (const entry of entries ?? [])
          if ('name' in entry && !isSafe(entry.name))
            throw new Error(`the name ${JSON.stringify(entry.name)} is taken`);
        for (const read of [list.parseBundle, list.parseHeld, basis.parseBasis])
          this.only(['bad-frame', 'bad-header'], () => read(bytes, 'blake3'));
        for (const read of [list.parseNumbers, list.parseReceipts, list.parseMissing])
          this.only(['bad-frame', 'bad-header'], () => read(bytes));
        break;
      }
      case 'manifests':
        for (const read of [manifest.parseManifest, manifest.parseManifestOutline, manifest.parseManifestHead])
          this.only(['mismatch'], () => read(bytes));
        break;
      case 'names': {
        const text = bytes.toString();
        const read = this.only(['name'], () => name.parseEntryName(text, { allowHidden: text.length % 2 === 0 }));
        if (read !== undefined && !isSafe(read)) throw new Error(`the name ${JSON.stringify(read)} is taken`);
        name.collationKey(text);
        name.printable(text);
        break;
      }
      case 'tickets':
        this.only(['usage'], () => ticket.parseTicket(bytes.toString()));
    }
  }

  private only<Result>(codes: readonly string[], read: () => Result): Result | undefined {
    try {
      return read();
    } catch (error) {
      if (error instanceof this.modules.errors.TransferError && codes.includes(error.code)) return undefined;
      throw error;
    }
  }
}

/** Seeds for whole conversations of one side of one wire. */
export function seedsOf(wire: ConversationSeed['wire'], by: ConversationSeed['by']): ConversationSeed[] {
  return conversations().filter((seed) => seed.wire === wire && seed.by === by);
}

function jsonOf(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
}
