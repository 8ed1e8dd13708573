import { expect } from 'chai';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Program } from './programs';

const directory = join(__dirname, '..', '..', 'examples');
const course = [
  'greeting',
  'tcp-roles',
  'udp',
  'chat-udp',
  'chat-room',
  'sticky',
  'remote-command',
  'upper',
  'struct',
  'upload-dict',
  'sockets',
];
const read = (file: string): string => readFileSync(join(directory, file), 'utf8');
const readme = read('README.md');

/** Each command line of the README, with what it says is printed. */
const sessions = [...readme.matchAll(/```console\n(.*?)```/gs)].flatMap(([, text = '']) =>
  text
    .split(/^\$ npm run -s example -- /m)
    .slice(1)
    .map((session) => {
      const [line = '', ...printed] = session.split('\n');
      return {
        words: [...line.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map(
          ([, single, double, bare]) => single ?? double ?? bare ?? '',
        ),
        printed: printed.join('\n'),
      };
    }),
);

describe('the course of examples', () => {
  afterEach(() => Program.killAll());

  it('has the programs in order, and nothing else', () => {
    expect([...readme.matchAll(/^## \d+\. \[([\w-]+)\]/gm)].map(([, name]) => name)).to.deep.equal(course);
    expect(readdirSync(directory).sort()).to.deep.equal(
      [...course.map((name) => `${name}.ts`), 'README.md', 'first-transfer.ts', 'run.ts'].sort(),
    );
  });

  for (const [n, name] of course.entries()) {
    it(`has ${name} in at most 80 lines that begin with what it teaches, on the public library alone`, () => {
      const text = read(`${name}.ts`);
      expect(text.trimEnd().split('\n').length).to.be.at.most(80);
      expect(text).to.match(new RegExp(`^// ${n + 1}\\. .*\\n(//.*\\n)*// .*It teaches: `));
      const imports = [...text.matchAll(/ from '([^']+)'/g)].map(([, from]) => from);
      expect(imports.filter((from) => !/^(node:.*|iconv-lite|\.\.\/lib\/index)$/.test(from ?? ''))).to.deep.equal([]);
    });
  }

  it('copies nothing from one program to another', () => {
    const seen = new Map<string, string>();
    for (const name of course) {
      const lines = read(`${name}.ts`)
        .split('\n')
        .map((line) => line.trim())
        .filter((line) => line.length > 3 && !line.startsWith('import') && !line.startsWith('//'));
      for (let at = 0; at + 3 <= lines.length; at += 1) {
        const three = lines.slice(at, at + 3).join('\n');
        expect(seen.get(three) ?? name, three).to.equal(name);
        seen.set(three, name);
      }
    }
  });

  it('shows commands that there are', () => {
    expect(sessions.length).to.be.greaterThan(20);
    for (const {
      words: [program = '', command = ''],
    } of sessions) {
      const exported = command.replace(/-[a-z]/g, (letter) => letter.slice(1).toUpperCase());
      expect(read(`${program}.ts`), `${program} ${command}`).to.match(
        new RegExp(`^export (async function|function|const) ${exported}\\b`, 'm'),
      );
    }
  });

  it('shows what they print', async () => {
    const alone = sessions.filter(({ words: [program, command] }) => program === 'struct' || command === 'show');
    expect(alone).to.have.lengthOf(6);
    const plain = (text: string): string =>
      text
        .replace(/:\d{4,5}\b/g, ':PORT')
        .replace(/sockets-\w+/g, 'sockets-NAME')
        .replace(/round trips: \d+/g, 'round trips: N');
    // Told from the time that passed: on a busy machine there seem to be more.
    const trips = (text: string): number[] =>
      [...text.matchAll(/round trips: (\d+)/g)].map(([, count]) => Number(count));
    for (const { words, printed } of alone) {
      const { stdout, stderr } = await Program.example(...words).ended;
      expect(plain(stdout + stderr)).to.equal(plain(printed));
      const fewest = trips(printed);
      expect(
        trips(stdout).every((count, at) => count >= (fewest[at] ?? 0)),
        stdout,
      ).to.equal(true);
    }
  });
});
