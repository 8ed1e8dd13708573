import { expect } from 'chai';
import { setTimeout as pause } from 'node:timers/promises';
import { TransferError } from '../../lib/errors';
import { Turns } from '../../lib/receive/turns';

/** Work that ends when it is told to. */
class Work {
  readonly begun: string[] = [];
  private readonly ends = new Map<string, () => void>();

  of(name: string): () => Promise<string> {
    return () => {
      this.begun.push(name);
      return new Promise((resolve) => this.ends.set(name, () => resolve(name)));
    };
  }

  async end(name: string): Promise<void> {
    this.ends.get(name)?.();
    await pause(0);
  }
}

const codeOf = (error: unknown): unknown => (error instanceof TransferError ? error.code : error);

describe('Turns', () => {
  it('gives so many at once their turn, and the next ones in the order in which they came', async () => {
    const turns = new Turns(2, 10, 10_000, 'Too many.');
    const work = new Work();
    const all = ['a', 'b', 'c', 'd'].map((name) => turns.take(work.of(name)));
    expect(work.begun).to.deep.equal(['a', 'b']);
    await work.end('b');
    expect(work.begun).to.deep.equal(['a', 'b', 'c']);
    for (const name of ['a', 'c', 'd']) await work.end(name);
    expect(await Promise.all(all)).to.deep.equal(['a', 'b', 'c', 'd']);
    const later = turns.take(work.of('e'));
    expect(work.begun.at(-1)).to.equal('e');
    await work.end('e');
    await later;
  });

  it('leaves something to others, however many times one comes', async () => {
    const turns = new Turns(64, 128, 10_000, 'Too many.');
    const work = new Work();
    const [greedy, second] = ['greedy', 'second'].map((whose) =>
      Array.from({ length: 200 }, (_, at) => turns.take(work.of(`${whose} ${String(at)}`), whose).catch(codeOf)),
    );
    expect(work.begun.filter((name) => name.startsWith('greedy'))).to.have.length(48);
    expect(work.begun.filter((name) => name.startsWith('second'))).to.have.length(12);
    const other = turns.take(work.of('other'), 'other');
    expect(work.begun.at(-1)).to.equal('other');
    for (let at = 0; at < 200; at++) for (const whose of ['greedy', 'second']) await work.end(`${whose} ${String(at)}`);
    await work.end('other');
    await other;
    // Of those in line, all had their turn.
    expect((await Promise.all(greedy ?? [])).filter((came) => came === 'timeout')).to.have.length(200 - 48 - 96);
    expect((await Promise.all(second ?? [])).filter((came) => came === 'timeout')).to.have.length(200 - 12 - 24);
  });

  it('gives the turn of one that fails to the next', async () => {
    const turns = new Turns(1, 10, 10_000, 'Too many.');
    const failing = turns.take(() => Promise.reject(new Error('no'))).catch((error: unknown) => error);
    const next = turns.take(() => Promise.resolve('next'));
    expect(await failing).to.be.instanceOf(Error);
    expect(await next).to.equal('next');
  });

  it('sends away who waits too long, who finds the line full, and everybody when it is closed', async () => {
    const turns = new Turns(1, 2, 100, 'Too many.');
    const work = new Work();
    const first = turns.take(work.of('first'));
    const waiting = [1, 2, 3].map((number) => turns.take(work.of(String(number))).catch(codeOf));
    expect(await waiting[2], 'the line is full').to.equal('timeout');
    expect(await waiting[0], 'it took too long').to.equal('timeout');
    const last = turns.take(work.of('last')).catch(codeOf);
    turns.close(new TransferError('interrupted', 'It is over.'));
    expect(await last).to.equal('interrupted');
    await work.end('first');
    await first;
    expect(work.begun).to.deep.equal(['first']);
  });
});
