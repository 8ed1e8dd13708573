import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect } from 'chai';
import { batchOf, blake3, contentOf, webReceivers } from './visitor';

const MiB = 1024 * 1024;

describe('uploads', () => {
  const start = webReceivers();

  describe('in slices', () => {
    it('are stored in any order, read back, and told with a receipt', async () => {
      const { directory, visitor } = await start({}, {}, true);
      const content = contentOf(20 * MiB + 5);
      const begun = await visitor.begin('deep/er/film.mp4', content);
      expect(begun.json)
        .to.include({ segment_size: 8 * MiB })
        .and.deep.include({ held: [] });
      expect(await visitor.slices(begun, content, [2, 0, 1])).to.deep.equal([204, 204, 204]);
      const closed = await visitor.close(begun, content);
      const digests = { blake3: await blake3(content) };
      expect(closed.status).to.equal(200);
      expect(closed.json).to.deep.include({ name: 'deep/er/film.mp4', size: content.length, digests });
      expect(closed.json['verified']).to.equal(directory.heard.all('received')[0]?.verified);
      expect((await directory.read('deep/er/film.mp4')).equals(content)).to.equal(true);
      expect(directory.heard.all('received')).to.have.length(1);
      // An answer that was lost is given again.
      expect((await visitor.close(begun, content)).json).to.deep.equal(closed.json);
      expect(directory.heard.all('received')).to.have.length(1);
    });

    it('go on where they were left, whoever left them', async () => {
      const { directory, visitor } = await start();
      const content = contentOf(20 * MiB);
      const first = await visitor.begin('a', content, { page: 'one' });
      await visitor.slices(first, content, [0, 2]);
      expect((await visitor.begin('a', content, { page: 'two' })).json).to.deep.include({ code: 'busy' });
      expect((await visitor.begin('a', content, { page: 'one' })).json).to.deep.include({
        id: first.json['id'],
        held: [
          [0, 1],
          [2, 1],
        ],
      });
      expect((await visitor.ask('DELETE', `api/uploads/${first.json['id'] as string}`)).status).to.equal(204);
      expect((await visitor.slices(first, content, [1]))[0]).to.equal(404);
      const again = await visitor.begin('a', content, { page: 'two' });
      expect(again.json['held']).to.deep.equal([
        [0, 1],
        [2, 1],
      ]);
      const lacking = await visitor.close(again, content);
      expect([lacking.status, lacking.json['code'], lacking.json['held']]).to.deep.equal([
        409,
        'incomplete',
        again.json['held'],
      ]);
      await visitor.slices(again, content, [1]);
      expect((await visitor.close(again, content)).status).to.equal(200);
      expect((await directory.read('a')).equals(content)).to.equal(true);
      expect(directory.heard.all('received')[0]?.kept).to.equal(12 * MiB);
    });

    it('that do not match their digest are refused, and nothing is kept of them', async () => {
      const { directory, visitor } = await start();
      const content = contentOf(17 * MiB);
      const begun = await visitor.begin('a', content);
      await visitor.slices(begun, content);
      const closed = await visitor.close(begun, contentOf(17 * MiB, 1));
      expect([closed.status, closed.json['code']]).to.deep.equal([422, 'mismatch']);
      expect(await readdir(directory.place)).to.deep.equal(['.sendall']);
      expect((await visitor.begin('a', content)).json['held']).to.deep.equal([]);
    });

    it('are as long as they have to be', async () => {
      const { visitor } = await start();
      const content = contentOf(9 * MiB);
      const begun = await visitor.begin('a', content);
      const put = (slice: string, length: number): Promise<number> =>
        visitor
          .ask('PUT', `api/uploads/${begun.json['id'] as string}/${slice}`, { body: content.subarray(0, length) })
          .then(({ status }) => status);
      expect(await put('0', MiB)).to.equal(400);
      expect(await put('1', 2 * MiB)).to.equal(400);
      expect(await put('2', MiB)).to.equal(400);
      expect(await put('-1', MiB)).to.equal(404);
      expect(await put('1', MiB)).to.equal(204);
    });

    it('are asked for their digest where a file of their size is there, and not sent where it is the same', async () => {
      const { directory, visitor } = await start();
      const [content, other] = [contentOf(2 * MiB), contentOf(2 * MiB, 7)];
      await visitor.upload('a', content);
      const again = await visitor.begin('a', content);
      expect([again.status, again.json['digest_needed']]).to.deep.equal([409, true]);
      const known = await visitor.begin('a', content, { blake3: await blake3(content) });
      expect((known.json['receipt'] as { digests: object }).digests).to.deep.equal({ blake3: await blake3(content) });
      const different = await visitor.begin('a', other, { blake3: await blake3(other) });
      expect([different.status, different.json['code'], different.json['digest_needed']]).to.deep.equal([
        409,
        'exists',
        undefined,
      ]);
      expect((await directory.read('a')).equals(content)).to.equal(true);
    });

    it('never replace, even where a receiver lets sessions replace', async () => {
      const { directory, visitor } = await start({ ifExists: 'replace' });
      const content = contentOf(2 * MiB);
      await visitor.upload('a', content);
      const refused = (await visitor.upload('a', contentOf(3 * MiB))).json;
      // The usual hint names options of a command, one of which does nothing for a page.
      expect(refused).to.include({ code: 'exists', hint: 'A page never replaces: give it another name.' });
      expect((await visitor.batch({ a: contentOf(10) })).json['results']).to.have.nested.property('[0].code', 'exists');
      expect((await directory.read('a')).equals(content)).to.equal(true);
    });

    it('are refused before they come where they are too large, or there is no room', async () => {
      const { directory, visitor } = await start({ maxSize: 4 * MiB, quota: 5 * MiB });
      const refused = async (size: number): Promise<unknown[]> => {
        const { status, json } = await visitor.begin(`f${String(size)}`, contentOf(size));
        return [status, json['code']];
      };
      expect(await refused(4 * MiB + 1)).to.deep.equal([413, 'size']);
      expect((await visitor.upload('three', contentOf(3 * MiB))).status).to.equal(200);
      expect(await refused(3 * MiB)).to.deep.equal([507, 'quota']);
      expect((await visitor.post('api/uploads', { name: 'huge', size: 2 ** 52, mtime: 0 })).json['code']).to.equal(
        'size',
      );
      expect(directory.heard.all('failed').map(({ code }) => code)).to.deep.equal(['size', 'quota', 'size']);
    });

    it('count in the quota while they are open, and not any more once they were given up', async () => {
      const { visitor } = await start({ quota: 20 * MiB });
      const content = contentOf(12 * MiB);
      const begun = await visitor.begin('a', content);
      expect((await visitor.begin('b', content)).json['code']).to.equal('quota');
      await visitor.ask('DELETE', `api/uploads/${begun.json['id'] as string}?discard=1`);
      expect((await visitor.begin('b', content)).status).to.equal(200);
    });
  });

  describe('of small files', () => {
    it('come many at once, each with its own end', async () => {
      const { directory, visitor } = await start({}, {}, true);
      const files = Object.fromEntries(
        Array.from({ length: 300 }, (_, at) => [`dir ${String(at % 7)}/${String(at)}`, contentOf(at * 37)]),
      );
      const { status, json } = await visitor.batch({ ...files, '../out': contentOf(3), 'dir 1/1/below': contentOf(4) });
      const results = json['results'] as Record<string, unknown>[];
      expect(status).to.equal(200);
      expect(results.slice(0, 300).filter(({ code }) => code !== undefined)).to.deep.equal([]);
      expect(results[300]).to.include({ code: 'name', status: 422 });
      expect(results[301]).to.have.property('code');
      expect(results[299]).to.deep.include({ name: 'dir 5/299', path: 'dir 5/299', size: 299 * 37 });
      for (const [name, content] of Object.entries(files))
        expect((await directory.read(name)).equals(content), name).to.equal(true);
      // The same again is success.
      const again = (await visitor.batch(files)).json['results'] as Record<string, unknown>[];
      expect(again.every((each) => typeof each['verified_at'] === 'string')).to.equal(true);
    });

    it('that do not match their digest are refused', async () => {
      const { directory, visitor } = await start();
      const digest = await blake3(contentOf(10));
      const list = [
        { name: 'good', size: 10, mtime: 0, blake3: digest },
        { name: 'bad', size: 10, mtime: 0, blake3: digest },
      ];
      const { json } = await visitor.ask('POST', 'api/batch', {
        body: batchOf(list, [contentOf(10), contentOf(10, 9)]),
      });
      const results = json['results'] as Record<string, unknown>[];
      expect(results.map(({ code }) => code)).to.deep.equal([undefined, 'mismatch']);
      expect(existsSync(path.join(directory.place, 'bad'))).to.equal(false);
    });

    it('are taken as a whole, or not at all where their list is not as it should be', async () => {
      const { directory, visitor } = await start();
      const digest = await blake3(contentOf(10));
      const good = { name: 'a', size: 10, mtime: 0, blake3: digest };
      const statusOf = async (body: Uint8Array): Promise<number> =>
        (await visitor.ask('POST', 'api/batch', { body })).status;
      expect(await statusOf(Buffer.alloc(0))).to.equal(400);
      expect(await statusOf(Buffer.from([255, 255, 255, 255, 1]))).to.equal(400);
      expect(await statusOf(batchOf([good], [contentOf(9)]))).to.equal(400);
      expect(await statusOf(batchOf([good, { ...good, size: 65_537 }], [contentOf(65_547)]))).to.equal(400);
      expect(await statusOf(batchOf([good, { ...good, blake3: 'x' }], [contentOf(20)]))).to.equal(400);
      expect(await statusOf(batchOf([good, null], [contentOf(10)]))).to.equal(400);
      expect(await statusOf(batchOf({}, [contentOf(10)]))).to.equal(400);
      expect(
        await statusOf(
          batchOf(
            Array.from({ length: 513 }, () => good),
            [contentOf(5130)],
          ),
        ),
      ).to.equal(400);
      expect((await readdir(directory.place)).filter((name) => name !== '.sendall')).to.deep.equal([]);
    });
  });

  it('of hostile names write nothing outside, and the others arrive as they are', async () => {
    const { directory, visitor } = await start({ names: 'any' });
    const outside = ['../x', 'a/../../x', '..', '.', '', '/', 'a//b', 'a/', '.sendall/x', 'x\0y', 'n'.repeat(256)];
    for (const name of outside)
      expect((await visitor.upload(name, contentOf(70_000))).json['code'], name).to.equal('name');
    expect((await visitor.batch(Object.fromEntries(outside.map((name) => [name, contentOf(2)])))).json['results'])
      .to.be.an('array')
      .and.satisfy((results: { code?: string }[]) => results.every(({ code }) => code === 'name'));
    const odd = ['<img src=x onerror=alert(1)>', '\u202egpj.exe', '/etc/passwd', 'n'.repeat(255), 'é'.repeat(127)];
    for (const [at, name] of odd.entries()) {
      expect((await visitor.upload(name, contentOf(70_000, at))).status, name).to.equal(200);
      expect(await readFile(path.join(directory.place, name.replace(/^\//, '')))).to.have.length(70_000);
    }
  });

  it('end with a receiver that is stopped: what came is kept for the next one', async () => {
    const { directory, page, visitor } = await start();
    const content = contentOf(20 * MiB);
    const begun = await visitor.begin('a', content);
    await visitor.slices(begun, content, [0, 1]);
    await page.close();
    await directory.receiver.close();
    expect(directory.heard.all('failed').map(({ code }) => code)).to.deep.equal(['interrupted']);
    expect(await readdir(path.join(directory.place, '.sendall'), { recursive: true })).to.satisfy((names: string[]) =>
      names.some((name) => name.endsWith('.journal')),
    );
  });
});
