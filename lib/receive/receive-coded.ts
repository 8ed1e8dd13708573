import type { Connection } from '../net/connection';
import type { Waits } from '../progress';
import { decodeContent } from '../session/content-coding';
import type { Segment } from '../wire/session-message';

/**
 * The content of a segment or bundle, which comes next from `source`, coded or as it is. Rejects with `bad-frame` for
 * what is no such content, and like `source`. PROTOCOL.md 14.17.
 */
export async function receiveCoded(
  source: Pick<Connection, 'fill'>,
  { size, coding, coded = size }: Pick<Segment, 'size' | 'coding' | 'coded'>,
  waits: Waits,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(coded);
  await waits.on('network', source.fill(bytes));
  return coding ? waits.on('compress', decodeContent(coding, bytes, size)) : bytes;
}
