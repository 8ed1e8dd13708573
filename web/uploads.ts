// All files of this page: which go next, and what became of each.
import type { Api, ReceiveSession } from './api';
import type { Named } from './dropped';
import { Hasher } from './hashing';
import { sendLargeFile, type Desk } from './large-file';
import type { Reach } from './reach';
import { firstBatch, sendBatch } from './small-files';
import { Turns } from './turns';
import { Upload } from './upload';

/** Segments under way at once: with more, a browser (six connections for one server) would leave none for the rest. */
const segmentsAtOnce = 3;
const filesAtOnce = 4;
const batchesAtOnce = 2;

export interface Sum {
  files: number;
  bytes: number;
  sent: number;
  underWay: number;
  verified: number;
  refused: number;
  pausing: number;
}

export class Uploads {
  /** In the order in which they were dropped. */
  list: Upload[] = [];
  readonly #byName = new Map<string, Upload>();
  readonly #desk: Desk;
  readonly #session: ReceiveSession;
  #large: Upload[] = [];
  #small: Upload[] = [];
  #largeGoing = 0;
  #batchesGoing = 0;

  constructor(api: Api, reach: Reach, session: ReceiveSession) {
    this.#session = session;
    this.#desk = { api, reach, hasher: new Hasher(), puts: new Turns(segmentsAtOnce), open: new Set() };
    addEventListener('pagehide', () => {
      for (const id of this.#desk.open) api.leave(id);
    });
  }

  /** What is on its way already stays so; what was dropped before and is over is sent again. */
  add(files: readonly Named[]): void {
    const fresh = new Map<string, Upload>();
    for (const { name, file } of files) {
      const known = this.#byName.get(name);
      if (known && !known.over) continue;
      fresh.set(name, new Upload(name, file));
    }
    if ([...fresh.keys()].some((name) => this.#byName.has(name)))
      this.list = this.list.filter(({ name }) => !fresh.has(name));
    for (const [name, upload] of fresh) {
      this.#byName.set(name, upload);
      this.list.push(upload);
      if (this.#isSmall(upload)) this.#small.push(upload);
      else this.#large.push(upload);
    }
    this.#next();
  }

  cancel(upload: Upload): void {
    upload.cancel.abort();
    this.#large = this.#large.filter((one) => one !== upload);
    this.#small = this.#small.filter((one) => one !== upload);
    this.list = this.list.filter((one) => one !== upload);
    this.#byName.delete(upload.name);
  }

  again(upload: Upload): void {
    this.add([upload]);
  }

  sum(): Sum {
    const sum: Sum = { files: 0, bytes: 0, sent: 0, underWay: 0, verified: 0, refused: 0, pausing: 0 };
    for (const upload of this.list) {
      const { is } = upload.state;
      sum.files++;
      sum.bytes += upload.size;
      // What was refused is over: nothing of it is waited for any more.
      sum.sent += is === 'refused' ? upload.size : upload.sent;
      if (is === 'verified') sum.verified++;
      else if (is === 'refused') sum.refused++;
      else {
        sum.underWay++;
        if (is === 'pausing') sum.pausing++;
      }
    }
    return sum;
  }

  #isSmall(upload: Upload): boolean {
    return this.#session.batch_files > 0 && upload.size <= this.#session.small_size;
  }

  #next(): void {
    while (this.#largeGoing < Math.min(filesAtOnce, this.#session.uploads_at_once)) {
      const upload = this.#large.shift();
      if (!upload) break;
      this.#largeGoing++;
      void this.#sendLarge(upload);
    }
    while (this.#batchesGoing < batchesAtOnce && this.#small.length > 0) {
      const uploads = firstBatch(this.#small, this.#session);
      this.#small = this.#small.slice(uploads.length);
      this.#batchesGoing++;
      void this.#sendSmall(uploads);
    }
  }

  async #sendLarge(upload: Upload): Promise<void> {
    upload.state = await sendLargeFile(upload, this.#desk);
    this.#largeGoing--;
    this.#next();
  }

  async #sendSmall(uploads: readonly Upload[]): Promise<void> {
    const again = await sendBatch(uploads, this.#desk);
    this.#small.push(...again.filter(({ cancel }) => !cancel.signal.aborted));
    this.#batchesGoing--;
    this.#next();
  }
}
