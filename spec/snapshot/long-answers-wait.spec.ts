import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { expect } from 'chai';
import { answerAsk } from '../../lib/snapshot/remote/answer';
import type { SnapshotQuestion } from '../../lib/snapshot/remote/question';
import { LocalStore } from '../../lib/store/local/local';
import { madeSnapshot } from './made-snapshot';

const [monday, tuesday] = ['2026-11-16T100000Z', '2026-11-17T100000Z'];

describe('a long answer about snapshots', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(path.join(tmpdir(), 'sendall-told-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  /** How much of an answer there is, and how much of it has waited at once for somebody who takes it late. */
  async function answered(ask: SnapshotQuestion['ask']): Promise<{ readonly all: number; readonly most: number }> {
    const store = await LocalStore.open(directory);
    let [waiting, most, all] = [0, 0, 0];
    await answerAsk({
      ask,
      destination: { directory, store },
      signal: new AbortController().signal,
      tell: () => {
        all++;
        most = Math.max(most, ++waiting);
      },
      heard: async () => {
        for (let turns = 0; turns < 3; turns++) await turn();
        waiting = 0;
      },
    });
    await store.close();
    return { all, most };
  }

  it('waits for whoever asked, and does not pile up here', async () => {
    await madeSnapshot(directory, { name: 'b', id: monday, number: 1 }, { a: 'content' });
    const more = Object.fromEntries(Array.from({ length: 3_500 }, (_, at) => [`d/${String(at)}`, '']));
    await madeSnapshot(directory, { name: 'b', id: tuesday, number: 2 }, { a: 'content', ...more });
    const questions: readonly SnapshotQuestion['ask'][] = [
      { for: 'difference', a: `b/${monday}`, b: `b/${tuesday}` },
      { for: 'entries', snapshot: `b/${tuesday}` },
      { for: 'find', pattern: 'd/*' },
    ];
    for (const ask of questions) {
      const { all, most } = await answered(ask);
      expect(all, ask.for).to.be.at.least(3_500);
      expect(most, ask.for).to.be.at.most(1_000);
    }
  });

  it('waits as well where it is of many snapshots, each of them with little of it', async () => {
    const few = Object.fromEntries(Array.from({ length: 900 }, (_, at) => [`d/${String(at)}`, '']));
    for (const [at, id] of [monday, tuesday, '2026-11-18T100000Z'].entries())
      await madeSnapshot(directory, { name: 'b', id, number: at + 1 }, { a: 'content', ...few });
    const { all, most } = await answered({ for: 'find', pattern: 'd/*' });
    expect(all).to.equal(2_700);
    expect(most).to.be.at.most(1_000);
  });
});
