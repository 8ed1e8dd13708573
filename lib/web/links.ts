import { randomBytes } from 'node:crypto';
import type { SourceFile } from '../send/open-source';
import type { EntryStats } from '../threads/entry-stats';

/** The digest of a file, and how the file was that has it. */
export interface KnownDigest {
  readonly sha256: string;
  readonly of: EntryStats;
}

/** A file that one link leads to. */
export interface LinkedFile {
  readonly file: SourceFile;
  readonly known?: KnownDigest | undefined;
  /** A delivery begins; false where there must be none, or none at this moment. */
  readonly begin?: () => boolean;
  /** It has ended; `whole`: all of the file went out. */
  readonly end?: (whole: boolean) => void;
}

/** A link, its file, and until when it is good, by performance.now(). */
export interface TimedLink extends LinkedFile {
  readonly link: string;
  readonly until: number;
}

/** In ms. */
const goodFor = 600_000;
const mostLinks = 10_000;

/**
 * Links that lead to one file each, for who has asked for them with the token: a browser that downloads sends no token
 * along. Each is good for one delivery of all of its file, however many ranges that takes, and for ten minutes.
 */
export class Links {
  private readonly links = new Map<string, TimedLink>();

  make(linked: LinkedFile): string {
    const now = performance.now();
    for (const [link, { until }] of this.links)
      if (until < now || this.links.size >= mostLinks) this.links.delete(link);
      else break;
    const link = randomBytes(24).toString('base64url');
    this.links.set(link, { ...linked, link, until: now + goodFor });
    return link;
  }

  find(link: string): TimedLink | undefined {
    const found = this.links.get(link);
    return found && found.until >= performance.now() ? found : undefined;
  }

  /** All of it goes out. */
  use(link: string): void {
    this.links.delete(link);
  }

  /** It did not, after all: the link that was found is good for as long as it was. */
  keep(found: TimedLink): void {
    this.links.set(found.link, found);
  }
}
