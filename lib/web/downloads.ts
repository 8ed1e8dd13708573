import type { DigestPool } from '../digest/digest-pool';
import { TransferError } from '../errors';
import { answer, answerJson } from './answer';
import { sendFile } from './download';
import { type LinkedFile, Links, type TimedLink } from './links';
import type { WebRequest } from './web-request';

/** What both pages do with files to download: gives links to those with the token, and files to those with a link. */
export class Downloads {
  private readonly links = new Links();

  /** `pool` is for digests that somebody wants, and nobody knows yet. */
  constructor(private readonly pool: DigestPool) {}

  /** Answers with a new link, relative to the page. */
  link({ response }: WebRequest, linked: LinkedFile): void {
    answerJson(response, 200, { href: `dl/${this.links.make(linked)}` });
  }

  /** What a path below `dl` leads to. Throws `source-unreadable` for a link that is used up or too old. */
  find([link = '', ...rest]: readonly string[]): TimedLink {
    const linked = rest.length === 0 ? this.links.find(link) : undefined;
    if (!linked) throw new TransferError('source-unreadable', 'This link was used already, or is too old.');
    return linked;
  }

  /** Answers with the file. Rejects like `sendFile`. */
  async send(linked: TimedLink, { response, method }: WebRequest): Promise<void> {
    if (method !== 'GET' && method !== 'HEAD') return answer(response, 405, { allow: 'GET, HEAD' });
    const counts = method === 'GET';
    if (counts && linked.begin?.() === false)
      throw new TransferError('source-unreadable', 'This file is given once, and somebody has fetched it.', {
        hint: '',
      });
    let whole = false;
    let used = false;
    try {
      whole = await sendFile(response, linked.file, {
        known: linked.known,
        pool: this.pool,
        ending: () => {
          used = true;
          this.links.use(linked.link);
        },
      });
    } finally {
      if (counts) linked.end?.(whole);
      if (whole) this.links.use(linked.link);
      else if (used) this.links.keep(linked);
    }
  }
}
