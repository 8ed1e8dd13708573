// One name that several want at the same moment: whoever is whole first has it, and everybody else is told.
import { readdir } from 'node:fs/promises';
import { expect } from 'chai';
import type { JsonObject } from '../../lib/index';
import { RawSession } from '../session/raw-session';
import type { WebReceiver } from './visitor';
import { type Answer, batchOf, blake3, contentOf, webReceivers } from './visitor';

const MiB = 1024 * 1024;
const large = 2 * MiB;

describe('one name, wanted by several at once', () => {
  const start = webReceivers();

  const codes = ({ json }: Answer): unknown[] =>
    (json['results'] as { readonly code?: string }[]).map(({ code = 'stored' }) => code);
  /** What a session is told of its file, which it has offered and whose content it has sent but for the end. */
  const sent = async (receiver: WebReceiver, name: string, content: Buffer): Promise<() => Promise<JsonObject>> => {
    const raw = await RawSession.open(receiver.directory.ticket);
    await raw.offer({ [name]: content.length });
    await raw.wanted(0);
    await raw.segments(0, content);
    return async () => {
      await raw.close(0, content);
      const end = await raw.outcome(0);
      raw.hangUp();
      return end;
    };
  };

  it('by two pages: the second is told that it is busy, and later that the name is taken', async () => {
    const { directory, visitor } = await start();
    const [mine, other] = [contentOf(large), contentOf(large, 1)];
    const [one, two] = await Promise.all([
      visitor.begin('a', mine, { page: 'one' }),
      visitor.begin('a', other, { page: 'two' }),
    ]);
    expect([one.status, two.status].sort()).to.deep.equal([200, 409]);
    const [begun, content, late] = one.status === 200 ? [one, mine, two] : [two, other, one];
    expect(late.json['code']).to.equal('busy');
    await visitor.slices(begun, content);
    expect((await visitor.close(begun, content)).status).to.equal(200);
    const rest = content === mine ? other : mine;
    const again = await visitor.begin('a', rest, { page: 'late', blake3: await blake3(rest) });
    expect([again.status, again.json['code']]).to.deep.equal([409, 'exists']);
    expect((await directory.read('a')).equals(content)).to.equal(true);
  });

  it('by two batches, or twice in one: one content is stored, and the others are told that the name is taken', async () => {
    const { directory, visitor } = await start();
    const contents = Array.from({ length: 6 }, (_, at) => contentOf(3_000, at));
    const answers = await Promise.all(contents.map((content) => visitor.batch({ a: content, beside: contentOf(5) })));
    const ends = answers.map((answer) => codes(answer)[0]);
    expect([...ends].sort()).to.deep.equal([...Array<string>(5).fill('exists'), 'stored']);
    // The same content under one name is success for everybody.
    expect(answers.map((answer) => codes(answer)[1])).to.deep.equal(Array(6).fill('stored'));
    expect((await directory.read('a')).equals(contents[ends.indexOf('stored')] ?? Buffer.alloc(0))).to.equal(true);
    const list = await Promise.all(
      [1, 2].map(async (mark) => ({ name: 'b', size: 9, mtime: 0, blake3: await blake3(contentOf(9, mark)) })),
    );
    const twice = await visitor.ask('POST', 'api/batch', {
      body: batchOf(list, [contentOf(9, 1), contentOf(9, 2)]),
    });
    expect(codes(twice)).to.deep.equal(['stored', 'exists']);
    expect((await directory.read('b')).equals(contentOf(9, 1))).to.equal(true);
  });

  it('by an upload in slices and by a batch: the batch is whole first, and the upload is refused', async () => {
    const { directory, visitor } = await start();
    const [content, small] = [contentOf(large), contentOf(70)];
    const begun = await visitor.begin('a', content);
    await visitor.slices(begun, content);
    expect(codes(await visitor.batch({ a: small }))).to.deep.equal(['stored']);
    const closed = await visitor.close(begun, content);
    expect([closed.status, closed.json['code']]).to.deep.equal([409, 'exists']);
    expect((await directory.read('a')).equals(small)).to.equal(true);
  });

  for (const ifExists of ['refuse', 'replace', 'rename', 'skip'] as const)
    it(`by a page and by a session, with --if-exists ${ifExists}: whoever is whole first has it`, async () => {
      const receiver = await start({ ifExists });
      const { directory, visitor } = receiver;
      const [page, session] = [contentOf(large), contentOf(large, 1)];

      const upload = await visitor.begin('session first', page);
      await visitor.slices(upload, page);
      expect(await (await sent(receiver, 'session first', session))()).to.have.property('digests');
      const refused = await visitor.close(upload, page);
      expect((await directory.read('session first')).equals(session)).to.equal(true);
      if (ifExists === 'rename') {
        expect(refused.json['path']).to.equal('session first (1)');
        expect((await directory.read('session first (1)')).equals(page)).to.equal(true);
      } else expect([refused.status, refused.json['code']]).to.deep.equal([409, 'exists']);

      const closing = await sent(receiver, 'page first', session);
      expect((await visitor.upload('page first', page)).json['path']).to.equal('page first');
      const end = await closing();
      const stands = await directory.read('page first');
      if (ifExists === 'replace') {
        // What a session may replace it replaces, whoever brought that.
        expect(end).to.have.property('digests');
        expect(stands.equals(session)).to.equal(true);
      } else {
        expect(stands.equals(page)).to.equal(true);
        expect(end).to.include(ifExists === 'rename' ? { path: 'page first (1)' } : { code: 'exists' });
      }
    });

  it('by a page that asks again while its file is read back: it is told of the same upload, and others to wait', async () => {
    const { directory, visitor } = await start();
    const content = contentOf(24 * MiB);
    const begun = await visitor.begin('a', content, { page: 'one' });
    await visitor.slices(begun, content);
    let over = false;
    const closing = visitor.close(begun, content).finally(() => (over = true));
    const seen = new Set<unknown>();
    while (!over) {
      const [same, other] = await Promise.all(
        ['one', 'two'].map((page) => visitor.begin('a', content, { page, mtime: 1_700_000_000_000 })),
      );
      if (over) break;
      seen.add(same?.json['id'] ?? same?.json['code']).add(other?.json['code']);
    }
    expect((await closing).status).to.equal(200);
    for (const each of seen) expect(each).to.be.oneOf([begun.json['id'], 'busy', 'exists']);
    expect((await directory.read('a')).equals(content)).to.equal(true);
    expect(directory.heard.all('failed').map(({ code }) => code)).to.not.include('interrupted');
  });

  it('by many pages and batches with one content: everybody is told that it is stored, once', async () => {
    const receiver = await start();
    const { directory, visitor } = receiver;
    const content = contentOf(50_000);
    const known = { blake3: await blake3(content) };
    const uploads = Array.from({ length: 6 }, async (_, at) => {
      for (;;) {
        const begun = await visitor.begin('a', content, { page: String(at), ...known });
        if (begun.json['code'] === 'busy') continue;
        if (begun.json['receipt'] !== undefined) return 'stored';
        await visitor.slices(begun, content);
        const { status, json } = await visitor.close(begun, content);
        return status === 200 ? 'stored' : json['code'];
      }
    });
    const batches = Array.from({ length: 6 }, async () => codes(await visitor.batch({ a: content }))[0]);
    expect(new Set(await Promise.all([...uploads, ...batches]))).to.deep.equal(new Set(['stored']));
    expect((await readdir(directory.place)).filter((name) => name !== '.sendall')).to.deep.equal(['a']);
    expect((await directory.read('a')).equals(content)).to.equal(true);
  });
});
