import { expect } from 'chai';
import { readFileSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { ReceiveDirectory, temporaryDirectory } from '../receive/receive-directory';
import { systemPath } from '../../lib/name-bytes';
import { noise } from './pair';
import { piece, RawSession } from './raw-session';

interface Vector {
  readonly input: string;
  readonly times?: number;
  readonly then?: string;
  readonly allow_hidden?: boolean;
  readonly accepted?: string | true;
}

const { entries, any, collide } = JSON.parse(
  readFileSync(path.join(__dirname, '..', '..', 'fixtures', 'vectors', 'names.json'), 'utf8'),
) as { entries: readonly Vector[]; any: readonly Vector[]; collide: readonly [string, string][] };
const nameOf = ({ input, times = 1, then = '' }: Vector): string => input.repeat(times) + then;

describe('Names in a session', () => {
  for (const [names, all] of [
    ['portable', entries],
    ['any', any.map((vector) => ({ ...vector, allow_hidden: true }))],
  ] as const)
    it(`are taken or refused one by one, as the vectors say, hidden ones among them: ${names}`, async () => {
      const to = await ReceiveDirectory.open({ names });
      try {
        const vectors = all
          // As long as a whole path may be: no other program could remove it.
          .filter((vector) => vector.accepted === undefined || nameOf(vector).length < 3_000)
          .filter(({ allow_hidden: hidden = false, accepted }) => hidden || accepted !== undefined);
        const raw = await RawSession.open(to.ticket);
        await raw.sendList(
          { type: 'offer' },
          vectors.map((vector, file) => ({
            file,
            type: 'file',
            name: nameOf(vector),
            size: 1,
            mode: 0o644,
            mtime: '0',
          })),
        );
        await raw.send({ type: 'end' });
        // What is a name for us and not for this disk, for instance since it is as long as a whole path may be, fails
        // when it is stored.
        await Promise.all(vectors.map((_, file) => Promise.race([raw.wanted(file), raw.outcome(file)])));
        const asked = raw.all('answer').flatMap(({ list }) => list as number[]);
        const wanted = asked.map((file) => nameOf(vectors[file] ?? { input: '' }));
        const accepted = vectors.filter(({ accepted: as }) => as !== undefined);
        expect(wanted.length).to.be.greaterThan(0);
        for (const name of wanted) expect(accepted.map(nameOf)).to.include(name);
        const refused = raw.all('refusal').map((refusal) => [refusal['file'], refusal['code']]);
        for (const [file, vector] of vectors.entries()) {
          if (vector.accepted === undefined) expect(refused, JSON.stringify(vector)).to.deep.include([file, 'name']);
        }
        await raw.bundle(asked.map((file) => [file, Buffer.from('x')]));
        await raw.first('done');
        for (const [file, vector] of vectors.entries()) {
          const { code = 'stored' } = (await raw.outcome(file)) as { code?: string };
          const stored = vector.accepted === true ? nameOf(vector) : (vector.accepted ?? '');
          if (code === 'stored')
            expect(await readFile(systemPath(path.join(to.place, stored))), JSON.stringify(vector)).to.deep.equal(
              Buffer.from('x'),
            );
          else expect(code).to.be.oneOf(vector.accepted === undefined ? ['name'] : ['name', 'exists']);
        }
        await raw.leave();
      } finally {
        await to.close();
      }
    });

  it('that some disk takes for one are two on this one, or the second is refused', async () => {
    const to = await ReceiveDirectory.open();
    try {
      const raw = await RawSession.open(to.ticket);
      const pairs = collide.filter(([one, other]) => one !== other);
      const names = pairs.flatMap(([one, other], at) => [`${String(at)}/${one}`, `${String(at)}/${other}`]);
      await raw.sendList(
        { type: 'offer' },
        names.map((name, file) => ({ file, type: 'file', name, size: name.length, mode: 0o644, mtime: '0' })),
      );
      await raw.wanted(names.length - 1).catch(() => undefined);
      const wanted = (await raw.first('answer')).list as number[];
      await raw.bundle(wanted.map((file) => [file, Buffer.alloc(names[file]?.length ?? 0, file)]));
      await raw.finish();
      for (const [file, name] of names.entries()) {
        const { code = 'stored' } = (await raw.outcome(file)) as { code?: string };
        if (code === 'stored') expect(await to.read(name)).to.deep.equal(Buffer.alloc(name.length, file));
        else expect(code).to.be.oneOf(['name', 'exists']);
      }
    } finally {
      await to.close();
    }
  });

  it('lead nowhere else through symbolic links: not through those of the session, nor those that are swapped in', async () => {
    const to = await ReceiveDirectory.open();
    const outside = await temporaryDirectory();
    const inside = (name: string): string => path.join(to.place, name);
    try {
      await writeFile(path.join(outside, 'f'), 'secret');
      await mkdir(inside('d'));
      const raw = await RawSession.open(to.ticket);
      await raw.sendList({ type: 'offer' }, [
        { file: 0, type: 'symlink', name: 'way', target: outside, mtime: '0' },
        { file: 1, type: 'symlink', name: 'f', target: path.join(outside, 'f'), mtime: '0' },
      ]);
      await raw.outcome(1);
      await raw.offer(
        { 'way/small': 5, 'way/large': 2 * piece, 'd/small': 5, 'd/large': 2 * piece, f: 2 * piece },
        {},
        2,
      );
      await raw.sendList({ type: 'offer' }, [
        { file: 7, type: 'link', name: 'stolen', target: 'way/f', mtime: '0' },
        { file: 8, type: 'directory', name: 'way/directory', mode: 0o755, mtime: '0' },
      ]);
      // In the way of files that are under way: a link in place of their directory.
      await raw.wanted(5).catch(() => undefined);
      await rename(inside('d'), inside('old'));
      await symlink(outside, inside('d'));
      const wanted = raw.all('answer').flatMap(({ list }) => list as number[]);
      await raw.bundle([2, 4].filter((file) => wanted.includes(file)).map((file) => [file, noise(5)]));
      for (const file of [3, 5, 6].filter((each) => wanted.includes(each))) {
        await raw.segments(file, noise(2 * piece));
        await raw.close(file, noise(2 * piece));
      }
      await raw.finish();
      const codes = await Promise.all([2, 3, 4, 5, 6, 7, 8].map(async (file) => (await raw.outcome(file))['code']));
      expect(
        codes.every((code) => code !== undefined),
        JSON.stringify(codes),
      ).to.equal(true);
      expect(await readdir(outside)).to.deep.equal(['f']);
      expect(await readFile(path.join(outside, 'f'), 'utf8')).to.equal('secret');
      expect((await readdir(to.place)).sort()).to.deep.equal(['.sendall', 'd', 'f', 'old', 'way']);
    } finally {
      await to.close();
      await rm(outside, { recursive: true });
    }
  });
});
