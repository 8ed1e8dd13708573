// The page of a receiver: uploads onto its store, and what arrives from anyone.
import { DigestPool } from '../digest/digest-pool';
import { TransferError } from '../errors';
import type { TransferEvent } from '../progress';
import { Turns } from '../receive/turns';
import type { Uploads } from '../receive/uploads';
import { textUnder } from '../wire/fields';
import { parseJsonObject } from '../wire/json-object';
import { answerJson } from './answer';
import { Downloads } from './downloads';
import { listFiles, pathWithin } from './kept-files';
import { LiveFeed } from './live-feed';
import { wholeBody } from './request-body';
import { Uploading } from './uploading';
import type { WebRequest } from './web-request';
import { type ServedPage, servePage, type WebOptions, type WebRoutes } from './web-server';

/** Directories that are listed at once, requests that wait for a turn, and their window in ms. */
const mostListings = 2;
const listingsWaiting = 64;
const listingPatience = 30_000;

export interface UploadPageOptions extends WebOptions {
  readonly uploads: Uploads;
  /** Whether who has the token may list what is in the directory, and fetch it. */
  readonly read?: boolean | undefined;
  /** What the page tells of the receiver's limits, in bytes. */
  readonly maxSize?: number | undefined;
  readonly quota?: number | undefined;
  readonly version?: string | undefined;
}

/** A page that is fed with the events of its receiver. */
export interface UploadPage extends ServedPage {
  note(event: TransferEvent): void;
}

/** Serves the page of a receiver. Rejects like `servePage`. */
export async function serveUploads(options: UploadPageOptions): Promise<UploadPage> {
  const live = new LiveFeed(async () => (await options.uploads.room()).free);
  const page = await servePage(options, (insecure) => new UploadRoutes(options, live, insecure));
  return { ...page, note: (event) => live.note(event) };
}

/** What the page of a receiver asks for. */
class UploadRoutes implements WebRoutes {
  private readonly uploading: Uploading;
  private readonly pool = new DigestPool(1);
  readonly downloads = new Downloads(this.pool);
  private readonly listings = new Turns(
    mostListings,
    listingsWaiting,
    listingPatience,
    'Too many directories are listed at this moment.',
  );

  constructor(
    private readonly options: UploadPageOptions,
    private readonly live: LiveFeed,
    private readonly insecure: boolean,
  ) {
    this.uploading = new Uploading(options.uploads);
  }

  async api(asked: WebRequest): Promise<void> {
    const { method, path } = asked;
    const [what = '', id, ...rest] = path;
    const order = [
      method,
      what,
      id === undefined ? '' : 'ID',
      ...rest.map((word) => (/^\d{1,7}$/.test(word) ? 'N' : word)),
    ]
      .filter((word) => word !== '')
      .join(' ');
    switch (order) {
      case 'GET session':
        return this.session(asked);
      case 'GET live':
        this.live.watch(asked.response);
        return;
      case 'POST uploads':
        return this.uploading.begin(asked);
      case 'PUT uploads ID N':
        return this.uploading.slice(asked, id ?? '', Number(rest[0]));
      case 'POST uploads ID close':
        return this.uploading.close(asked, id ?? '');
      case 'DELETE uploads ID':
        return this.uploading.end(asked, id ?? '');
      case 'POST batch':
        return this.uploading.batch(asked);
      case 'GET files':
        return this.list(asked);
      case 'POST links':
        return this.link(asked);
      default:
        answerJson(asked.response, 404, { code: 'usage', message: 'There is nothing here.' });
    }
  }

  close(): Promise<void> {
    this.live.close();
    return this.pool.close();
  }

  private async session({ response }: WebRequest): Promise<void> {
    const { uploads, read = false, maxSize = null, quota = null, version = null } = this.options;
    const { free, name } = await uploads.room();
    answerJson(response, 200, {
      mode: 'receive',
      version,
      name,
      write: true,
      read,
      free,
      max_size: maxSize,
      quota,
      ...Uploading.sizes,
      insecure: this.insecure,
    });
  }

  private async list({ query, response }: WebRequest): Promise<void> {
    const directory = await this.readable();
    const path = query.get('path') ?? '';
    const listed = await this.listings.take(() => listFiles(directory, path, () => response.destroyed));
    answerJson(response, 200, { path, ...listed });
  }

  private async link(asked: WebRequest): Promise<void> {
    const directory = await this.readable();
    const name = pathWithin(textUnder(parseJsonObject(await wholeBody(asked.request, 16 * 1024)), 'path'));
    if (name === '') throw new TransferError('name', 'This is no file.', { hint: '' });
    this.downloads.link(asked, { file: { path: directory, below: name, name } });
  }

  /** The directory, for who may read. Rejects with `not-authorized`. */
  private async readable(): Promise<string> {
    if (this.options.read !== true)
      throw new TransferError('not-authorized', 'This page takes files, and gives none.', {
        hint: 'The receiver decides with --web-read.',
      });
    return (await this.options.uploads.room()).directory;
  }
}
