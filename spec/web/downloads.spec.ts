import { writeFileSync } from 'node:fs';
import { mkdir, symlink, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { createHash } from 'node:crypto';
import { expect } from 'chai';
import type { EntryName } from '../../lib/name';
import { attachment, parseRange, wantsSha256 } from '../../lib/web/download';
import { Links } from '../../lib/web/links';
import { type DownloadPage, serveDownloads } from '../../lib/web/serve-downloads';
import { SourceTree } from '../send/source-tree';
import { contentOf, Visitor, WebReceiver } from './visitor';

const MiB = 1024 * 1024;

describe('downloads', () => {
  describe('from a receiver', () => {
    let receiver: WebReceiver;
    let visitor: Visitor;
    const content = contentOf(3 * MiB + 7);
    before(async () => {
      receiver = await WebReceiver.open({}, { read: true });
      ({ visitor } = receiver);
      await visitor.upload('dir/a "b" é.bin', content);
      await visitor.upload('top', contentOf(70_000));
      await writeFile(path.join(receiver.directory.place, '..', 'outside-of-sendall'), 'secret');
      await symlink('/etc/passwd', path.join(receiver.directory.place, 'link'));
      await symlink('..', path.join(receiver.directory.place, 'up'));
    });
    after(() => receiver.close());
    const linkTo = async (name: string): Promise<string> =>
      String((await visitor.post('api/links', { path: name })).json['href']);

    it('are listed by directory, without links and what is the receiver’s own', async () => {
      const listed = (await visitor.ask('GET', 'api/files?path=')).json;
      expect(listed['more']).to.equal(false);
      expect(
        (listed['entries'] as { name: string; type: string; size: number }[]).map(({ name, type, size }) => [
          name,
          type,
          size,
        ]),
      ).to.deep.equal([
        ['dir', 'directory', 0],
        ['top', 'file', 70_000],
      ]);
      const below = (await visitor.ask('GET', 'api/files?path=dir')).json['entries'] as { mtime: number }[];
      expect(below[0]?.mtime).to.equal(1_700_000_000_000);
      for (const wrong of ['..', 'dir/..', '.sendall', 'nothing', 'top', 'link', 'up', '%00'])
        expect((await visitor.ask('GET', `api/files?path=${wrong}`)).status, wrong).to.be.oneOf([404, 422]);
    });

    it('are attachments that nothing is run of, by a link that is good for one of them', async () => {
      const href = await linkTo('dir/a "b" é.bin');
      const part = await visitor.ask('GET', href, { token: false, headers: { range: 'bytes=1048576-1048579' } });
      expect([part.status, part.headers['content-range']]).to.deep.equal([
        206,
        `bytes 1048576-1048579/${String(content.length)}`,
      ]);
      expect(part.body.equals(content.subarray(MiB, MiB + 4))).to.equal(true);
      const head = await visitor.ask('HEAD', href, { token: false });
      expect(head.headers['content-length']).to.equal(String(content.length));
      const stale = await visitor.ask('GET', href, {
        headers: { range: 'bytes=0-1', 'if-range': '"other"' },
        token: false,
      });
      expect(stale.status).to.equal(200);
      expect(stale.body.equals(content)).to.equal(true);
      expect(stale.headers['content-disposition']).to.equal(
        `attachment; filename="a _b_ _.bin"; filename*=UTF-8''a%20_b_%20%C3%A9.bin`,
      );
      expect(stale.headers['content-security-policy']).to.include('sandbox');
      expect(stale.headers['content-type']).to.equal('application/octet-stream');
      expect((await visitor.ask('GET', href, { token: false })).status).to.equal(404);
    });

    it('come with their SHA-256 where that is wanted, however long that takes', async () => {
      const want = { 'want-repr-digest': 'sha-512=3, sha-256=5' };
      const of = async (name: string, headers: Record<string, string>, method = 'GET') =>
        (await visitor.ask(method, await linkTo(name), { token: false, headers })).headers['repr-digest'];
      const digest = (of: Buffer): string => `sha-256=:${createHash('sha256').update(of).digest('base64')}:`;
      const name = 'dir/a "b" é.bin';
      expect(await of(name, {})).to.equal(undefined);
      expect(await of(name, want)).to.equal(digest(content));
      // Of all of the file, whatever range is sent.
      expect(await of(name, { ...want, range: 'bytes=5-9' })).to.equal(digest(content));
      expect(await of(name, { 'want-repr-digest': 'sha-256=0' })).to.equal(undefined);
      const large = await WebReceiver.open({}, { read: true, stillFor: 200 });
      try {
        await writeFile(path.join(large.directory.place, 'large'), '');
        await truncate(path.join(large.directory.place, 'large'), 1024 * MiB);
        const { href } = (await large.visitor.post('api/links', { path: 'large' })).json;
        const began = performance.now();
        const head = await large.visitor.ask('HEAD', String(href), { token: false, headers: want });
        expect(head.headers['repr-digest']).to.match(/^sha-256=:[\w+/]{43}=:$/);
        expect(performance.now() - began).to.be.above(250);
      } finally {
        await large.close();
      }
    });

    it('are of nothing outside, however it is named', async () => {
      for (const wrong of [
        '../outside-of-sendall',
        'up/outside-of-sendall',
        'link',
        '/etc/passwd',
        '.sendall/lock',
        '',
        'dir',
        'a\0b',
      ]) {
        const asked = await visitor.post('api/links', { path: wrong });
        const status =
          asked.status === 200
            ? (await visitor.ask('GET', String(asked.json['href']), { token: false })).status
            : asked.status;
        expect(status, wrong).to.be.oneOf([404, 409, 422]);
      }
      expect((await visitor.ask('GET', `dl/${'A'.repeat(32)}`, { token: false })).status).to.equal(404);
      expect((await visitor.ask('GET', 'api/files', { token: false })).status).to.equal(401);
    });
  });

  it('are listed in part where a directory has many: the first 2,000 by name', async () => {
    const receiver = await WebReceiver.open({}, { read: true });
    try {
      const crowded = path.join(receiver.directory.place, 'crowded');
      await mkdir(crowded);
      for (let at = 0; at < 4_500; at++) writeFileSync(path.join(crowded, String(at).padStart(5, '0')), '');
      // No UTF-8: it is told as it is written elsewhere.
      writeFileSync(Buffer.concat([Buffer.from(`${crowded}/00000`), Buffer.from([0xff])]), '');
      const { entries, more } = (await receiver.visitor.ask('GET', 'api/files?path=crowded')).json;
      const names = (entries as { name: string }[]).map(({ name }) => name);
      expect(names).to.have.length(2_000);
      expect(names.slice(0, 3)).to.deep.equal(['00000', '00000\udcff', '00001']);
      expect([names.at(-1), more]).to.deep.equal(['01998', true]);
    } finally {
      await receiver.close();
    }
  });

  it('are none where that was not allowed', async () => {
    const receiver = await WebReceiver.open();
    try {
      const { visitor } = receiver;
      await visitor.upload('a', contentOf(10));
      expect((await visitor.ask('GET', 'api/session')).json['read']).to.equal(false);
      expect((await visitor.ask('GET', 'api/files?path=')).status).to.equal(403);
      expect((await visitor.post('api/links', { path: 'a' })).status).to.equal(403);
    } finally {
      await receiver.close();
    }
  });

  describe('from a sender', () => {
    let tree: SourceTree;
    let page: DownloadPage | undefined;
    const content = contentOf(2 * MiB + 1);
    before(async () => {
      tree = await SourceTree.make({ 'film.mp4': content, 'note.txt': 'a note' });
      await mkdir(tree.at('dir'));
    });
    afterEach(async () => page?.close());
    after(() => tree.remove());
    const give = async (once: boolean): Promise<Visitor> => {
      page = await serveDownloads({ address: '127.0.0.1:0', paths: [tree.at('film.mp4'), tree.at('note.txt')], once });
      return new Visitor(page.localUrl);
    };
    const linkTo = (visitor: Visitor, id: string) => visitor.post('api/links', { id });

    it('show their SHA-256 and come with it, as often as they are wanted', async () => {
      const visitor = await give(false);
      const sha256 = createHash('sha256').update(content).digest();
      let files: { id: string; name: string; size: number; sha256: string | null }[];
      do files = (await visitor.ask('GET', 'api/session')).json['files'] as typeof files;
      while (files.some((file) => file.sha256 === null));
      expect(files[0]).to.include({ name: 'film.mp4', size: content.length, sha256: sha256.toString('hex') });
      for (let time = 0; time < 2; time++) {
        const got = await visitor.ask('GET', String((await linkTo(visitor, '0')).json['href']), { token: false });
        expect(got.body.equals(content)).to.equal(true);
        expect(got.headers['repr-digest']).to.equal(`sha-256=:${sha256.toString('base64')}:`);
      }
      expect((await linkTo(visitor, '2')).status).to.equal(404);
    });

    it('come with no digest of what they were before they changed', async () => {
      const visitor = await give(false);
      let files: { sha256: string | null }[];
      do files = (await visitor.ask('GET', 'api/session')).json['files'] as typeof files;
      while (files.some((file) => file.sha256 === null));
      const longer = contentOf(content.length + 1000, 3);
      await writeFile(tree.at('film.mp4'), longer);
      const digest = `sha-256=:${createHash('sha256').update(longer).digest('base64')}:`;
      for (const [headers, expected] of [
        [{}, undefined],
        [{ 'want-repr-digest': 'sha-256=1' }, digest],
      ] as const) {
        const href = String((await linkTo(visitor, '0')).json['href']);
        const got = await visitor.ask('GET', href, { token: false, headers });
        expect(got.body.equals(longer)).to.equal(true);
        expect(got.headers['repr-digest']).to.equal(expected);
      }
      await writeFile(tree.at('film.mp4'), content);
    });

    it('are given once where that is wanted, and end the page', async () => {
      const visitor = await give(true);
      const [one, two] = [await linkTo(visitor, '0'), await linkTo(visitor, '0')];
      await visitor.ask('GET', String(one.json['href']), { token: false });
      expect((await linkTo(visitor, '0')).status).to.equal(404);
      expect((await visitor.ask('GET', String(two.json['href']), { token: false })).status).to.equal(404);
      await visitor.ask('GET', String((await linkTo(visitor, '1')).json['href']), { token: false });
      await page?.delivered;
    });

    it('break off where a file changes meanwhile, so that nobody has half of it', async () => {
      const visitor = await give(false);
      const { href } = (await linkTo(visitor, '0')).json as { href: string };
      await truncate(tree.at('film.mp4'), MiB);
      expect((await visitor.ask('GET', href, { token: false })).body).to.have.length(MiB);
      await writeFile(tree.at('film.mp4'), content);
    });

    it('are of regular files only', async () => {
      for (const wrong of ['dir', 'nothing'])
        expect(
          await serveDownloads({ address: '127.0.0.1:0', paths: [tree.at(wrong)] }).catch(
            (error: { code: string }) => error.code,
          ),
        ).to.be.oneOf(['usage', 'source-unreadable']);
    });
  });

  it('go by links that are good for ten minutes, of which there are so many at most', () => {
    const links = new Links();
    const linked = { file: { path: '/', name: 'a' as EntryName } };
    const now = performance.now.bind(performance);
    let later = 0;
    performance.now = () => now() + later;
    try {
      const first = links.make(linked);
      later = 599_000;
      expect(links.find(first)).to.include(linked);
      later = 600_001;
      expect(links.find(first)).to.equal(undefined);
      const [oldest = '', next = ''] = Array.from({ length: 10_001 }, () => links.make(linked));
      expect([links.find(oldest), links.find(next) !== undefined]).to.deep.equal([undefined, true]);
    } finally {
      performance.now = now;
    }
  });

  it('are asked for in ranges', () => {
    const table: readonly [string | undefined, ReturnType<typeof parseRange>][] = [
      [undefined, 'none'],
      ['bytes=0-', { first: 0, last: 9 }],
      ['bytes=0-0', { first: 0, last: 0 }],
      ['bytes=3-99', { first: 3, last: 9 }],
      ['bytes=-3', { first: 7, last: 9 }],
      ['bytes=-99', { first: 0, last: 9 }],
      ['bytes=10-', 'unsatisfiable'],
      ['bytes=-0', 'unsatisfiable'],
      ['bytes=5-3', 'none'],
      ['bytes=0-1,4-5', 'none'],
      ['items=0-1', 'none'],
      ['bytes=', 'none'],
      ['bytes=-', 'none'],
    ];
    for (const [header, range] of table) expect(parseRange(header, 10), String(header)).to.deep.equal(range);
    expect(parseRange('bytes=0-', 0)).to.equal('unsatisfiable');
    for (const header of ['sha-256=1', 'sha-512=3, sha-256=10', ' sha-256 = 5 '])
      expect(wantsSha256(header), header).to.equal(true);
    for (const header of [undefined, '', 'sha-256', 'sha-256=0', 'sha-256=11', 'sha-512=1', 'x-sha-256=1'])
      expect(wantsSha256(header), header).to.equal(false);
    expect(attachment('a/b\r\nSet-Cookie: x')).to.equal(
      `attachment; filename="b_u000d_u000aSet-Cookie: x"; filename*=UTF-8''b_u000d_u000aSet-Cookie%3A%20x`,
    );
  });
});
