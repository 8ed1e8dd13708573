import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { answerAsk } from '../../lib/snapshot/remote/answer';
import { LocalStore } from '../../lib/store/local/local';
import { madeSnapshot } from './made-snapshot';

const [monday, tuesday] = ['2026-11-16T100000Z', '2026-11-17T100000Z'];

describe('what is told of snapshots', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(path.join(tmpdir(), 'sendall-told-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('waits for whoever asked, so that no long answer piles up here', async () => {
    await madeSnapshot(directory, { name: 'b', id: monday, number: 1 }, { a: 'content' });
    const more = Object.fromEntries(Array.from({ length: 3_500 }, (_, at) => [`d/${String(at)}`, '']));
    await madeSnapshot(directory, { name: 'b', id: tuesday, number: 2 }, { a: 'content', ...more });
    const store = await LocalStore.open(directory);
    let [waiting, most, all] = [0, 0, 0];
    await answerAsk({
      ask: { for: 'difference', a: `b/${monday}`, b: `b/${tuesday}` },
      destination: { directory, store },
      signal: new AbortController().signal,
      tell: () => {
        all++;
        most = Math.max(most, ++waiting);
      },
      heard: () => {
        waiting = 0;
        return Promise.resolve();
      },
    });
    await store.close();
    expect(all).to.be.at.least(3_500);
    expect(most).to.be.at.most(1_000);
  });
});
