import { expect } from 'chai';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { IfExists } from '../../lib/index';
import { ReceiveDirectory } from '../receive/receive-directory';
import { sending, SourceTree } from '../send/source-tree';
import { noise } from './pair';
import { piece } from './raw-session';

const contents = { small: noise(100), large: noise(2 * piece + 5) };

/** Each with something else of the same size in its way; the large one also with something of another size. */
const inTheWay: readonly (readonly [name: string, what: 'small' | 'large', standing: Buffer])[] = [
  ['small', 'small', noise(100, 5)],
  ['large', 'large', noise(2 * piece + 5, 5)],
  ['longer', 'large', noise(3 * piece, 6)],
];

/** What becomes of the file, and how its new name ends. */
const rules: Readonly<Record<IfExists, { readonly code?: string; readonly suffix?: string; readonly skipped?: true }>> =
  {
    refuse: { code: 'exists' },
    skip: { skipped: true },
    rename: { suffix: ' (1)' },
    replace: { suffix: '' },
  };

describe('What stands under a name already, in a session', () => {
  let source: SourceTree;
  before(async () => (source = await SourceTree.make(contents)));
  after(() => source.remove());

  for (const [ifExists, { code, suffix, skipped = false }] of Object.entries(rules) as [
    IfExists,
    (typeof rules)[IfExists],
  ][]) {
    it(`follows the rule ${ifExists}, for small and for large files`, async () => {
      const to = await ReceiveDirectory.open({ ifExists });
      try {
        for (const [name, what, standing] of inTheWay) {
          const content = contents[what];
          await writeFile(path.join(to.place, name), standing);
          const { error, result, heard } = await sending({ paths: [source.at(what)], name, target: to.ticket });
          expect(error?.code, name).to.equal(code);
          expect(heard.all('skipped'), name).to.have.lengthOf(skipped ? 1 : 0);
          expect(result?.files[0]?.path, name).to.equal(suffix === undefined ? undefined : `${name}${suffix}`);
          if (suffix !== undefined) expect((await to.read(`${name}${suffix}`)).equals(content), name).to.equal(true);
          if (suffix !== '') expect((await to.read(name)).equals(standing), name).to.equal(true);
        }
      } finally {
        await to.close();
      }
    });
  }

  it('takes the same content again, with no bytes of it on the wire, and leaves it as it is', async () => {
    for (const ifExists of ['refuse', 'rename'] as const) {
      const to = await ReceiveDirectory.open({ ifExists });
      try {
        for (const [name, content] of Object.entries(contents)) {
          await writeFile(path.join(to.place, name), content);
          for (const turn of ['found there', 'known by its receipt']) {
            const { error, result } = await sending({ paths: [source.at(name)], target: to.ticket });
            expect(error, `${name}, ${turn}`).to.equal(undefined);
            expect(result?.files[0]).to.include({ path: name });
            expect(result?.files[0]?.bytes_on_wire).to.be.lessThan(100);
            expect(result?.files[0]?.digests, turn).to.have.property('blake3');
          }
        }
        expect((await readdir(to.place)).filter((name) => !name.startsWith('.')).sort()).to.deep.equal([
          'large',
          'small',
        ]);
      } finally {
        await to.close();
      }
    }
  });

  it('is never replaced where it is no regular file, nor looked into', async () => {
    const to = await ReceiveDirectory.open({ ifExists: 'replace' });
    try {
      await mkdir(path.join(to.place, 'small'));
      await symlink(source.at('large'), path.join(to.place, 'large'));
      const { failed } = await sending({ paths: [source.at('small'), source.at('large')], target: to.ticket });
      expect(failed).to.deep.equal(['exists', 'exists']);
      expect(await readdir(path.join(to.place, 'small'))).to.deep.equal([]);
      expect((await readFile(source.at('large'))).equals(contents.large)).to.equal(true);
    } finally {
      await to.close();
    }
  });

  it('is skipped only where it has the very name', async () => {
    for (const [wire, ifExists] of [
      ['ticket', 'skip'],
      ['target', 'skip'],
      ['ticket', 'replace'],
    ] as const) {
      const to = await ReceiveDirectory.open({ ifExists });
      const tree = await SourceTree.make({ 'd/small': contents.small, 'd/large': contents.large });
      try {
        await writeFile(path.join(to.place, 'd'), 'a file');
        const { failed, heard } = await sending({ paths: [tree.at('d')], target: to[wire] });
        expect(heard.all('skipped'), wire).to.deep.equal([]);
        expect(new Set(failed), wire).to.deep.equal(new Set(['exists']));
        expect(failed, wire).to.have.lengthOf(wire === 'ticket' ? 3 : 2);
        for (const { hint } of heard.all('failed')) expect(hint, wire).to.match(/^Remove or rename what is there/);
      } finally {
        await tree.remove();
        await to.close();
      }
    }
  });

  it('is refused with a hint that helps: what is no file is never replaced', async () => {
    for (const ifExists of ['refuse', 'replace'] as const) {
      const to = await ReceiveDirectory.open({ ifExists });
      try {
        for (const name of ['small', 'large']) {
          await mkdir(path.join(to.place, name));
          for (const target of [to.ticket, to.target]) {
            const { error } = await sending({ paths: [source.at(name)], target });
            expect(error?.hint, `${name}, ${ifExists}`).to.match(/never replaced: .*--if-exists rename/);
          }
        }
      } finally {
        await to.close();
      }
    }
  });

  it('is renamed once, however often the same comes, on either wire', async () => {
    for (const wire of ['ticket', 'target'] as const) {
      const to = await ReceiveDirectory.open({ ifExists: 'rename' });
      try {
        for (const [name, what, standing] of inTheWay) {
          await writeFile(path.join(to.place, name), standing);
          for (const turn of [1, 2, 3]) {
            const { error, result } = await sending({ paths: [source.at(what)], name, target: to[wire] });
            expect(error, `${name}, ${String(turn)}`).to.equal(undefined);
            expect(result?.files[0]?.path, `${name}, ${String(turn)}`).to.equal(`${name} (1)`);
          }
        }
        expect(
          (await readdir(to.place)).filter((name) => !name.startsWith('.')),
          wire,
        ).to.have.lengthOf(6);
      } finally {
        await to.close();
      }
    }
  });
});
