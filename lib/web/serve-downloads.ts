// The page of a sender: its files, one download each.
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { DigestPool } from '../digest/digest-pool';
import { asTransferError, errnoOf, TransferError } from '../errors';
import { type EntryName, parseEntryName, printable } from '../name';
import { OpenSource, type SourceFile } from '../send/open-source';
import { failureEvent } from '../session/summary';
import { textUnder } from '../wire/fields';
import { parseJsonObject } from '../wire/json-object';
import { answerJson } from './answer';
import { Downloads } from './downloads';
import type { KnownDigest } from './links';
import { wholeBody } from './request-body';
import type { WebRequest } from './web-request';
import { type ServedPage, servePage, type WebOptions, type WebRoutes } from './web-server';

export interface DownloadPageOptions extends WebOptions {
  /** Regular files. */
  readonly paths: readonly string[];
  /** Each may be fetched once. */
  readonly once?: boolean | undefined;
  readonly version?: string | undefined;
}

/** A page that ends by itself where each file is given once. */
export interface DownloadPage extends ServedPage {
  /** Resolves once every file was delivered, where each is given once. */
  readonly delivered: Promise<void>;
}

/** A file that is given. */
interface GivenFile {
  readonly id: string;
  readonly source: SourceFile;
  readonly size: number;
  /** Undefined while it is being read. */
  known: KnownDigest | undefined;
  /** `leaving` while somebody fetches it, where it is given once. */
  state: 'here' | 'leaving' | 'delivered';
}

/**
 * Serves files. Their digests are read while the page is there already. Rejects like `servePage`, and with `usage` and
 * `source-unreadable` for what is no file.
 */
export async function serveDownloads(options: DownloadPageOptions): Promise<DownloadPage> {
  const files = await Promise.all(options.paths.map((each, at) => givenFile(each, String(at))));
  let routes: DownloadRoutes | undefined;
  const page = await servePage(options, (insecure) => (routes = new DownloadRoutes(options, files, insecure)));
  return { ...page, delivered: routes?.delivered ?? Promise.resolve() };
}

async function givenFile(pathname: string, id: string): Promise<GivenFile> {
  const found = await stat(pathname).catch((cause: unknown) => {
    if (errnoOf(cause) === 'ENOENT')
      throw new TransferError('source-unreadable', `${printable(pathname)} does not exist.`, { cause });
    throw asTransferError(cause, 'source-unreadable', `${printable(pathname)} cannot be read`);
  });
  if (!found.isFile())
    throw new TransferError('usage', `${printable(pathname)} is no regular file: a page gives files only.`, {
      hint: 'Name the files, or put them into an archive.',
    });
  const name: EntryName = parseEntryName(path.basename(path.resolve(pathname)), { allowHidden: true, names: 'any' });
  return { id, source: { path: pathname, name }, size: found.size, known: undefined, state: 'here' };
}

/** What the page of a sender asks for. */
class DownloadRoutes implements WebRoutes {
  /** See `DownloadPage`. */
  readonly delivered: Promise<void>;
  private readonly pool = new DigestPool();
  readonly downloads = new Downloads(this.pool);
  private tellDelivered: () => void = () => undefined;
  private closed = false;

  constructor(
    private readonly options: DownloadPageOptions,
    private readonly files: readonly GivenFile[],
    private readonly insecure: boolean,
  ) {
    this.delivered = new Promise((resolve) => {
      this.tellDelivered = resolve;
    });
    void this.digestAll();
  }

  async api(asked: WebRequest): Promise<void> {
    const {
      method,
      path: [what = '', ...rest],
      request,
      response,
    } = asked;
    const order = rest.length > 0 ? '' : `${method} ${what}`;
    if (order === 'GET session') return this.session(asked);
    if (order === 'POST links') {
      const id = textUnder(parseJsonObject(await wholeBody(request, 1024)), 'id');
      const file = this.files.find((each) => each.id === id);
      if (!file) throw new TransferError('source-unreadable', 'There is no such file.', { hint: '' });
      if (this.options.once === true && file.state !== 'here')
        throw new TransferError('source-unreadable', 'This file was fetched already, and is given once.', { hint: '' });
      const { source, known } = file;
      this.downloads.link(asked, {
        file: source,
        known,
        begin: () => this.begin(file),
        end: (whole) => this.end(file, whole),
      });
      return;
    }
    answerJson(response, 404, { code: 'usage', message: 'There is nothing here.' });
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.pool.close();
  }

  private session({ response }: WebRequest): void {
    const { once = false, version = null } = this.options;
    const files = this.files.map(({ id, source, size, known, state }) => ({
      id,
      name: printable(source.name),
      size,
      sha256: known?.sha256 ?? null,
      delivered: state === 'delivered',
    }));
    answerJson(response, 200, { mode: 'send', version, files, once, insecure: this.insecure });
  }

  private begin(file: GivenFile): boolean {
    if (this.options.once !== true) return true;
    if (file.state !== 'here') return false;
    file.state = 'leaving';
    return true;
  }

  private end(file: GivenFile, whole: boolean): void {
    file.state = whole ? 'delivered' : 'here';
    if (this.options.once === true && this.files.every(({ state }) => state === 'delivered')) this.tellDelivered();
  }

  /** One after another: each is read as a whole. */
  private async digestAll(): Promise<void> {
    for (const file of this.files) {
      try {
        const source = await OpenSource.open(file.source);
        try {
          const { digests } = this.pool.digestFile({ fd: source.handle.fd, size: source.size, algorithms: ['sha256'] });
          const { sha256 } = await digests;
          if (sha256 !== undefined) file.known = { sha256, of: source.before };
        } finally {
          await source.handle.close();
        }
      } catch (error) {
        if (this.closed) return;
        this.options.on?.(
          failureEvent(asTransferError(error, 'source-unreadable', 'It cannot be read').about(file.source.name)),
        );
      }
    }
  }
}
