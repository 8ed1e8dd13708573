import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'chai';
import { LiveFeed } from '../../lib/web/live-feed';
import { RawSession } from '../session/raw-session';
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

  it('leaves nothing under way of a file that begins a second time in its transfer', async () => {
    const feed = new LiveFeed(() => Promise.resolve(null));
    const server = createServer((_request, response) => feed.watch(response)).listen(0, '127.0.0.1');
    try {
      await once(server, 'listening');
      const begins = (id: string): void => feed.note({ event: 'started', id, file_name: 'twice', file_size: 5 });
      begins('one');
      begins('one');
      begins('other');
      const response = await fetch(`http://127.0.0.1:${String((server.address() as AddressInfo).port)}/`);
      begins('one');
      feed.note({
        event: 'failed',
        id: 'one',
        file_name: 'twice',
        code: 'mismatch',
        message: 'Something was damaged.',
      });
      let text = '';
      for await (const piece of response.body ?? []) {
        text += Buffer.from(piece as Uint8Array).toString();
        if (text.includes('"failed"')) break;
      }
      const lines = text
        .split('\n')
        .filter((line) => line.endsWith('}'))
        .map((line) => JSON.parse(line) as { readonly event: string; readonly id?: number });
      const idsOf = (event: string): unknown[] => lines.filter((line) => line.event === event).map(({ id }) => id);
      expect(idsOf('started')).to.deep.equal([0, 1]);
      expect(idsOf('failed')).to.deep.equal([0]);
    } finally {
      feed.close();
      server.closeAllConnections();
      server.close();
    }
  });

  it('forgets what was under way when its session is lost, and tells that to those who watch', async () => {
    const receiver = await WebReceiver.open();
    const { directory, visitor } = receiver;
    const watching = visitor.watch();
    try {
      await watching.tells(({ event }) => event === 'totals');
      const names = Array.from({ length: 500 }, (_, at) => `lost ${String(at)}`);
      const raw = await RawSession.open(directory.ticket);
      await raw.offer(Object.fromEntries(names.map((name) => [name, 100_000])));
      // They begin in any order.
      await directory.heard.first('started', () => directory.heard.all('started').length === names.length);
      raw.hangUp();
      await directory.heard.first('failed', ({ file_name: name }) => name === undefined);
      const idsOf = (event: string): unknown[] =>
        watching.lines.filter((line) => line['event'] === event && 'name' in line).map(({ id }) => id);
      await watching.tells(() => idsOf('failed').length === names.length);
      expect(idsOf('failed')).to.have.members(idsOf('started'));
      const later = await visitor.live(({ event }) => event === 'totals');
      expect(later.filter(({ event }) => event === 'started')).to.deep.equal([]);
      // What comes next is told as ever.
      const next = visitor.live(({ event, name }) => event === 'started' && name === 'next');
      await visitor.upload('next', contentOf(100_000));
      await next;
    } finally {
      watching.close();
      await receiver.close();
    }
  });
});
