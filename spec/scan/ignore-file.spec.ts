import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { matcher } from '../../lib/scan/exclude';
import { Exclusion, readIgnoreFile } from '../../lib/scan/ignore-file';
import { isInstalled } from '../store/local/receiving-process';
import { skipTest } from '../skip-test';

/** The files of a tree, in which all patterns below mean something. */
const tree = [
  ...[
    'a',
    'b',
    'ab',
    'ba',
    'a.o',
    'a-b',
    '#a',
    '!a',
    'a b',
    'a ',
    '[a]',
    'a]',
    'a\\b',
    '*',
    '?',
    'B',
    '1',
    '.h',
    'dée',
    'a\tb',
    'x^',
    'foo',
    'foobar',
  ].map((name) => `${name}.f`),
  ...['a', 'b', '#a', '!a', 'a ', ' ', '[a]', ']', '-', '\\', 'x^', 'a.o', 'foo', '.h', '*', '漢字漢'].map(
    (name) => `d/${name}`,
  ),
  ...[
    'd/a.d/b/x',
    'd/b.d/a',
    'a/d/b',
    'a/b/d/c',
    'a/b/c',
    'foo/bar',
    'foo/x/bar',
    'foo/x/y/bar',
    'x/foo/bar',
    'x/foo/a',
    'build/a',
    'x/build/a',
    'a.o.d/x',
    'x/keep/a',
    'x/keep/b',
  ],
];

/** Ignore files, each with what it is about. */
const table: readonly (readonly [about: string, text: string])[] = [
  ['nothing', ''],
  ['comments and blank lines', '# *.o\n\n   \n#a.f\n'],
  ['a name', 'a'],
  ['a name with a dot', 'a.o'],
  ['an asterisk', '*.o'],
  ['asterisks within a name', '*a*.f'],
  ['only an asterisk', '*'],
  ['a question mark', '?.f'],
  ['no slash matches an asterisk', 'foo/*bar'],
  ['no slash matches a question mark', 'foo?bar'],
  ['a hidden name matches an asterisk', '*h*'],
  ['directories only', 'a/\nfoo/'],
  ['a file does not match a directory', 'a.f/'],
  ['from the top', '/a'],
  ['from the top, a directory', '/build/'],
  ['a slash in the middle', 'foo/bar'],
  ['a slash in the middle and before', '/foo/bar'],
  ['a slash in the middle does not match deeper', 'build/a'],
  ['at any depth', '**/bar'],
  ['at any depth, a path', '**/foo/bar'],
  ['everything below', 'foo/**'],
  ['everything below at any depth', '**/foo/**'],
  ['directories between', 'foo/**/bar'],
  ['several gaps', '**/foo/**/bar'],
  ['two gaps in a row', 'foo/**/**/bar'],
  ['only asterisks', '**'],
  ['all directories', '**/'],
  ['all directories, from the top', '/**/'],
  ['more than two asterisks', 'foo/***/bar'],
  ['two asterisks that are no component', 'f**r'],
  ['two asterisks behind a letter', 'foo/x**'],
  ['a set', '[ab].f'],
  ['a range', '[a-c]b.f'],
  ['not in a set', 'd/[!a]'],
  ['the other sign for not', 'd/[^a-z]'],
  ['a bracket first in a set', 'd/[]a]'],
  ['a bracket first, not in a set', 'd/[!]a]'],
  ['a dash last in a set', 'd/[a-]'],
  ['a dash first in a set', 'd/[-a]'],
  ['an escape in a set', 'd/[\\]\\\\]'],
  ['a sign for not that is no first one', 'x[a^].f'],
  ['a class', '[[:digit:]].f'],
  ['not in a class', '[![:alpha:]].f'],
  ['two classes and a letter', 'd/[[:punct:][:space:]b]'],
  ['a class that is none', '[[:foo:]]*'],
  ['not in a class that is none', 'd/[![:foo:]]'],
  ['a backward range', 'd/[b-a]'],
  ['a set that is not closed', 'd/[a'],
  ['a set that is not closed, with an asterisk', '*[a'],
  ['a slash in a set', 'foo[/]bar'],
  ['an escaped sharp', '\\#a'],
  ['a sharp that is not first', 'd/#a'],
  ['an escaped exclamation mark', '\\!a'],
  ['an escaped asterisk', '\\*'],
  ['an escaped question mark', '\\?.f'],
  ['escaped brackets', '\\[a\\]'],
  ['an escaped letter', '\\a'],
  ['an escaped backslash', 'd/\\\\'],
  ['a backslash at the end', 'a\\'],
  ['trailing spaces', 'a.o   '],
  ['an escaped trailing space', 'd/a\\ '],
  ['an escaped trailing space and more', 'd/a\\   '],
  ['a space within', 'a b.f'],
  ['a tab is no space', 'a.o\t'],
  ['carriage returns', 'a.o\r\n*.f\r\n'],
  ['a carriage return at the end', 'a.o\r'],
  ['a mark of byte order', '\uFEFFa.o\n'],
  ['taken back', '*.f\n!a.f'],
  ['the last one decides', '!a.f\n*.f\n!b.f\nb.f'],
  ['no way back from an excluded directory', 'x/\n!x/keep/'],
  ['no way back for a file of it either', 'x/keep\n!x/keep/a'],
  ['a way back from its entries', 'x/*\n!x/keep'],
  ['everything but one', '/*\n!/foo\n/foo/*\n!/foo/bar'],
  ['an exclamation mark alone', '*.f\n!'],
  ['two exclamation marks', '!!a.f\n'],
  ['a slash alone', '/'],
  ['two slashes', '//a'],
  ['two slashes at the end', 'foo//'],
  ['letters beyond ASCII', 'dée.f\n*字*'],
  ['a link to a directory is none', 'link/'],
];

describe('an ignore file', () => {
  let place: string;
  before(async () => {
    place = await mkdtemp(path.join(tmpdir(), 'sendall-ignore-'));
    for (const name of tree) {
      mkdirSync(path.join(place, path.dirname(name)), { recursive: true });
      writeFileSync(path.join(place, name), '');
    }
    symlinkSync('foo', path.join(place, 'link'));
  });
  after(() => rm(place, { recursive: true }));

  /** What is left of the tree, found as a walk would. */
  function left(exclusion: Exclusion, below = ''): string[] {
    return readdirSync(path.join(place, below), { withFileTypes: true }).flatMap((entry) => {
      const inside = path.posix.join(below, entry.name);
      if (inside === '.git' || entry.name === '.ignore' || exclusion.excludes(inside, entry.isDirectory())) return [];
      return entry.isDirectory() ? left(exclusion, inside) : [inside];
    });
  }

  describe('leaves out what git leaves out', () => {
    before(function () {
      if (!isInstalled('git')) {
        skipTest(this, 'git is not installed');
      }
      execFileSync('git', ['init', '-q', place]);
    });
    const git = (): string[] => {
      const out = execFileSync('git', ['ls-files', '--others', '--exclude-per-directory=.ignore', '-z'], {
        cwd: place,
        encoding: 'utf8',
      });
      return out.split('\0').filter((name) => name !== '' && path.basename(name) !== '.ignore');
    };

    for (const [about, text] of table) {
      it(about, () => {
        writeFileSync(path.join(place, '.ignore'), text);
        expect(left(Exclusion.of([]).with('', text))).to.have.members(git());
      });
    }

    it('in a directory below another ignore file', async () => {
      const [top, deep] = ['*.o\n/d/b\n!foo\n', '!a.o\n/a\nfoo\n!/b\n'];
      writeFileSync(path.join(place, '.ignore'), top);
      writeFileSync(path.join(place, 'd/.ignore'), deep);
      const [above, within] = [Exclusion.of([]).with('', top), Exclusion.of([]).with('', top).with('d', deep)];
      const ours = [...left(above).filter((name) => !name.startsWith('d/')), ...left(within, 'd')];
      expect(ours).to.have.members(git());
      expect(ours).to.include.members(['d/a.o', 'd/b']).and.not.to.include.members(['d/a', 'd/foo']);
      await rm(path.join(place, 'd/.ignore'));
    });
  });

  it('is asked after the patterns of the caller, which count from the top and know neither comments nor trailing spaces', () => {
    const exclusion = Exclusion.of(['/d/#a', '#a.f', 'd/a ', '!*.f']).with('', '*.f\n*.o\n').with('d', '!#a\n!*.o');
    const said = (name: string): boolean => exclusion.excludes(name, false);
    expect([said('d/#a'), said('d/a '), said('d/a'), said('#a.f'), said('d/a.o'), said('d/x/#a')]).to.deep.equal([
      true,
      true,
      false,
      false,
      false,
      false,
    ]);
  });

  it('is a regular file of a sensible length, or not read at all', async () => {
    execFileSync('mkfifo', [path.join(place, 'fifo')]);
    writeFileSync(path.join(place, 'long'), Buffer.alloc(1024 * 1024 + 1));
    for (const name of ['fifo', 'long', 'link', 'd', 'none'])
      expect(() => readIgnoreFile(path.join(place, name)), name).to.throw();
    await rm(path.join(place, 'fifo'));
    await rm(path.join(place, 'long'));
  });
});

describe('a pattern', () => {
  it('takes one character for another, however many bytes it has', () => {
    const excluded = matcher(['?', '[à-ü]x']);
    expect(['é', '漢', '😀', 'êx', 'éé'].map((name) => excluded(name, false))).to.deep.equal([
      true,
      true,
      true,
      true,
      false,
    ]);
  });

  it('takes characters that mean something in regular expressions as they are', () => {
    for (const name of ['a-b', 'a.b', '(a|b)+', '^a$', 'a{2}', '{', 'a,b', '\u{1f600}', '\ud800']) {
      expect(matcher([name])(`x/${name}`, false), name).to.equal(true);
      expect(matcher([`*${name}`])(`x/y${name}`, false), name).to.equal(true);
    }
    expect(matcher(['a.b'])('axb', false)).to.equal(false);
  });

  it('never takes long', () => {
    const began = performance.now();
    expect(matcher([`${'*a'.repeat(60)}b`])('a'.repeat(250), false)).to.equal(false);
    expect(matcher([`${'**/*a*/'.repeat(60)}b`])(`${'aaaa/'.repeat(800)}c`, false)).to.equal(false);
    expect(performance.now() - began).to.be.lessThan(1000);
  });
});
