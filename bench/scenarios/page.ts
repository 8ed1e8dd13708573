import { mkdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { chromiumPath, launchChromium } from '../../spec/web/chromium';
import { ServedPage } from '../../spec/web/served-page';
import { run } from '../command';
import { median, type Row, sameBytes } from '../contest';
import { watchPeak } from '../memory';
import { send } from '../sendall';
import { makeFile, makeTree } from '../sources';
import { from, mebi, type Goal, type Scenario, type Settings } from './settings';

/** Files of a folder that is dropped, 4 KiB each. */
const few = 2_000;
const many = 10_000;
/** What is asked: of an upload, in MiB/s; of 2,000 files and the first paint, in s; of the page, in KB; and in MiB. */
const rate = 50;
const fewWithin = 20;
const paintWithin = 0.3;
const pageSize = 60;
const resident = 160;
const lostShare = 0.5;

/**
 * The page of a receiver in a real Chromium on the same machine: what it takes to open it, a large file, many small
 * ones, the receiver's memory for each, and what of its rate a session loses beside an upload.
 */
export const page: Scenario = {
  manyFiles: true,
  space: ({ size, reps }) => (3 + 2 * reps) * size + reps * 2 * many * 4096,
  async run(settings) {
    const chromium = chromiumPath();
    if (chromium === undefined) {
      settings.say('  There is no Chromium here (CHROMIUM=/path): the page is left out.');
      return undefined;
    }
    const browser = await launchChromium(chromium);
    try {
      const measured = await new PageBench(settings, browser).measure();
      return { scenario: 'page', rows: measured.rows, goals: goals(measured, settings) };
    } finally {
      await browser.close();
    }
  },
};

/** By the names of their rows. */
interface Measured {
  readonly rows: readonly Row[];
  readonly of: (name: string) => number;
}

const large = 'a large file up';
const paint = 'first paint';
const transferred = 'the page';
const alone = 'a session, the page open';
const beside = 'a session, an upload beside it';
const filesUp = (count: number): string => `${String(count)} files up`;
const memoryOf = (what: string): string => `receiver of ${what}`;

class PageBench {
  private readonly values = new Map<string, { readonly unit: Row['unit']; readonly values: number[] }>();
  private next = 0;

  constructor(
    private readonly settings: Settings,
    private readonly browser: Browser,
  ) {}

  async measure(): Promise<Measured> {
    const { reps, size } = this.settings;
    const directory = await from(this.settings, 'page');
    const big = await makeFile(join(directory, 'big'), size);
    const other = await makeFile(join(directory, 'other'), size);
    const trees = [
      await makeTree(join(directory, 'few'), few, 4096),
      await makeTree(join(directory, 'many'), many, 4096),
    ];
    for (let round = 0; round < reps; round++) {
      await this.opened(async (visitor) => {
        const [painted = 0, bytes = 0] = await visitor.evaluate<number[]>(`[
          performance.getEntriesByName('first-contentful-paint')[0].startTime,
          performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))
            .reduce((sum, { transferSize }) => sum + transferSize, 0),
        ]`);
        this.add(paint, 's', painted / 1000);
        this.add(transferred, 'KiB', bytes / 1024);
      });
      await this.opened(async (visitor, inbox, peak) => {
        await this.timed(large, () => upload(visitor, '#files-input', big));
        await sameBytes(big, join(inbox, basename(big)));
        this.add(memoryOf(large), 'MiB', peak());
      });
      for (const [at, tree] of trees.entries()) {
        const what = filesUp(at === 0 ? few : many);
        await this.opened(async (visitor, inbox, peak) => {
          await this.timed(what, () => upload(visitor, '#folder-input', tree));
          await sameBytes(tree, join(inbox, basename(tree)));
          this.add(memoryOf(what), 'MiB', peak());
        });
      }
      await this.opened(async (visitor, inbox, _peak, ticket) => {
        await this.timed(alone, () => send(other, ticket));
        await rm(join(inbox, basename(other)));
        const first = visitor.waitForResponse((response) => response.request().method() === 'PUT');
        let over = false;
        const uploading = upload(visitor, '#files-input', big).finally(() => (over = true));
        await first;
        await this.timed(beside, () => send(other, ticket));
        if (over) this.settings.say('  (the upload was over before the session: the last figure is of little worth)');
        await uploading;
        await sameBytes(other, join(inbox, basename(other)));
      });
    }
    const rows = [...this.values].map(([name, row]): Row => ({ name, ...row }));
    return { rows, of: (name) => median(this.values.get(name)?.values ?? []) };
  }

  private add(name: string, unit: Row['unit'], value: number): void {
    const row = this.values.get(name) ?? { unit, values: [] };
    row.values.push(value);
    this.values.set(name, row);
    this.settings.say(`  ${name}: ${value.toFixed(2)} ${unit}`);
  }

  private async timed(name: string, work: () => Promise<unknown>): Promise<void> {
    await run('sync', []);
    const began = performance.now();
    await work();
    this.add(name, 's', (performance.now() - began) / 1000);
  }

  /** A receiver of its own, and a page of a browser with nothing kept. */
  private async opened(
    work: (visitor: Page, inbox: string, peak: () => number, ticket: string) => Promise<void>,
  ): Promise<void> {
    const inbox = join(this.settings.directory, 'page', `to-${String(this.next++)}`);
    await mkdir(inbox, { recursive: true, mode: 0o700 });
    const served = await ServedPage.receive(inbox);
    const [, ticket = ''] = await served.process.says(/"ticket":"(sendall:[^"]+)"/);
    const peak = watchPeak(served.process.child.pid ?? 0);
    const context = await this.browser.newContext();
    try {
      const visitor = await context.newPage();
      await visitor.goto(served.url);
      await visitor.locator('#receive').waitFor();
      await work(visitor, inbox, peak, ticket);
    } finally {
      await context.close();
      await served.end();
    }
  }
}

/** From the choosing to the last receipt. */
async function upload(visitor: Page, input: string, path: string): Promise<void> {
  await visitor.setInputFiles(input, path);
  await visitor.locator('#uploads-words', { hasText: /^(?:All .* v|V)erified\.$/ }).waitFor({ timeout: 600_000 });
}

function goals({ of }: Measured, { size }: Settings): Goal[] {
  const memory = [large, filesUp(few), filesUp(many)].map((what): Goal => {
    const name = memoryOf(what);
    return { name, unit: 'MiB', value: of(name), limit: resident };
  });
  return [
    { name: paint, unit: 's', value: of(paint), limit: paintWithin },
    { name: transferred, unit: 'KiB', value: of(transferred), limit: (pageSize * 1000) / 1024 },
    { name: `${large}, at ${String(rate)} MiB/s`, unit: 's', value: of(large), limit: size / mebi / rate },
    { name: filesUp(few), unit: 's', value: of(filesUp(few)), limit: fewWithin },
    ...memory,
    { name: 'of its rate a session loses', unit: 'ratio', value: 1 - of(alone) / of(beside), limit: lostShare },
  ];
}
