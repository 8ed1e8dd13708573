import { expect } from 'chai';
import { sending, SourceTree } from '../send/source-tree';
import { contentOf, WebReceiver } from './visitor';

describe('the live list of a page', () => {
  it('tells all who watch what comes from anyone, and how much there is', async () => {
    const receiver = await WebReceiver.open();
    const tree = await SourceTree.make({ 'by session.bin': contentOf(100_000) });
    try {
      const { directory, visitor } = receiver;
      const seen = visitor.live(({ event, files }) => event === 'totals' && files === 3);
      await visitor.upload('by page', contentOf(100_000));
      await visitor.begin('..', contentOf(1));
      await visitor.batch({ small: contentOf(5) });
      expect((await sending({ paths: [tree.at('by session.bin')], target: directory.ticket })).error).to.equal(
        undefined,
      );
      const lines = await seen;
      const named = (event: string): unknown[] =>
        lines.filter((line) => line['event'] === event).map(({ name }) => name);
      expect(named('received')).to.have.members(['by page', 'small', 'by session.bin']);
      expect(named('failed')).to.deep.equal(['..']);
      expect(lines.at(-1)).to.include({ event: 'totals', bytes: 200_005 });
      expect(lines.at(-1)?.['free']).to.be.a('number');
      const started = lines.find(({ event, name }) => event === 'started' && name === 'by page');
      expect(lines.find(({ event, name }) => event === 'received' && name === 'by page')?.['id']).to.equal(
        started?.['id'],
      );
      // Nothing that opens a door.
      expect(JSON.stringify(lines)).not.to.include(directory.place).and.not.include('sendall://');
    } finally {
      await receiver.close();
      await tree.remove();
    }
  });
});
