import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import path from 'node:path';
import { expect } from 'chai';
import { Heard, ReceiveDirectory, temporaryDirectory } from '../receive/receive-directory';
import { bytes, sending, SourceTree } from '../send/source-tree';
import { readFile, rm } from 'node:fs/promises';
import { skipTest } from '../skip-test';

const programs = path.join(__dirname, '..', '..', 'fixtures', 'python');

/** A Python program, running. */
class Python {
  readonly ended: Promise<number | null>;
  private printed = '';
  private readonly child: ChildProcess;

  constructor(program: string, ...words: readonly string[]) {
    this.child = spawn('python3', [path.join(programs, program), ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
    this.child.stdout?.on('data', (piece) => (this.printed += String(piece)));
    this.ended = new Promise((resolve) => this.child.once('close', (code) => resolve(code)));
  }

  get lines(): string[] {
    return this.printed.split('\n').slice(0, -1);
  }

  /** The first line: where it listens. */
  async port(): Promise<string> {
    while (this.lines.length === 0 && this.child.exitCode === null)
      await new Promise((resolve) => setTimeout(resolve, 5));
    return this.lines[0] ?? '';
  }
}

describe('Python programs written from PROTOCOL.md alone (fixtures/python)', function () {
  this.timeout(30_000);
  const files = { 'empty.txt': '', 'one.txt': '1', 'Größe.bin': bytes(3 * 1024 * 1024 + 17, 5), 'last.txt': 'last' };
  let tree: SourceTree;
  let paths: string[];

  before(async function () {
    if (spawnSync('python3', ['--version']).status !== 0) {
      skipTest(this, 'python3 is not installed, so no other implementation is talked to');
    }
    tree = await SourceTree.make(files);
    paths = Object.keys(files).map((name) => tree.at(name));
  });
  after(() => tree?.remove());

  async function arrivedIn(read: (name: string) => Promise<Buffer>): Promise<void> {
    for (const [name, content] of Object.entries(files))
      expect((await read(name)).equals(Buffer.from(content)), name).to.equal(true);
  }

  for (const reply of [false, true]) {
    const words = reply ? ['--reply'] : [];
    const told = reply ? ', with replies' : ', without replies';

    it(`Python sends and dials${told}`, async () => {
      const directory = await ReceiveDirectory.open();
      const python = new Python('plain_sender.py', 'connect', '127.0.0.1', String(directory.port), ...words, ...paths);
      expect(await python.ended).to.equal(0);
      await directory.heard.first('summary');
      await arrivedIn((name) => directory.read(name));
      expect(python.lines.map((line) => (JSON.parse(line) as { type: string }).type)).to.deep.equal(
        reply ? ['receipt', 'receipt', 'receipt', 'receipt'] : [],
      );
      await directory.close();
    });

    it(`Python sends and listens${told}`, async () => {
      const directory = await ReceiveDirectory.open();
      const python = new Python('plain_sender.py', 'listen', '0', ...words, ...paths);
      const received = await directory.receiver.dial(`tcp://127.0.0.1:${await python.port()}`);
      expect(received.files).to.equal(4);
      expect(await python.ended).to.equal(0);
      expect(python.lines.length).to.equal(reply ? 5 : 1);
      await arrivedIn((name) => directory.read(name));
      await directory.close();
    });
  }

  it('Python is told of a refusal, and its other files arrive', async () => {
    const directory = await ReceiveDirectory.open({ maxSize: 1000 });
    const python = new Python('plain_sender.py', 'connect', '127.0.0.1', String(directory.port), '--reply', ...paths);
    expect(await python.ended).not.to.equal(0);
    expect(
      python.lines.map((line) => (JSON.parse(line) as { type: string; code?: string }).code ?? 'receipt'),
    ).to.deep.equal(['receipt', 'receipt', 'size', 'receipt']);
    await directory.close();
  });

  it('Python receives and listens: sent, not confirmed, since it never answers', async () => {
    const place = await temporaryDirectory();
    const python = new Python('plain_receiver.py', 'listen', '0', place);
    const { error, heard } = await sending({ paths, target: `tcp://127.0.0.1:${await python.port()}` });
    expect(error?.code).to.equal('not-confirmed');
    expect(heard.all('sent').map(({ verified }) => verified)).to.deep.equal([null, null, null, null]);
    expect(await python.ended).to.equal(0);
    await arrivedIn((name) => readFile(path.join(place, name)));
    await rm(place, { recursive: true });
  });

  it('Python receives and dials: sent, not confirmed', async () => {
    const place = await temporaryDirectory();
    const heard = new Heard();
    const running = sending({ paths, listen: '127.0.0.1:0', plain: true }, heard);
    const { port } = await heard.first('listening');
    const python = new Python('plain_receiver.py', 'connect', '127.0.0.1', String(port), place);
    expect((await running).error?.code).to.equal('not-confirmed');
    expect(await python.ended).to.equal(0);
    await arrivedIn((name) => readFile(path.join(place, name)));
    await rm(place, { recursive: true });
  });

  for (const role of ['--listen', '--dial'] as const) {
    it(`Python receives, answers and ${role === '--listen' ? 'listens' : 'dials'}: confirmed, trees too`, async () => {
      const place = await temporaryDirectory();
      const heard = new Heard();
      if (role === '--listen') {
        const python = new Python('plain_peer.py', 'receive', '--listen', '127.0.0.1:0', place);
        const { port } = JSON.parse(await python.port()) as { port: number };
        expect(
          (await sending({ paths: [tree.place], target: `tcp://127.0.0.1:${String(port)}` })).result?.files,
        ).to.have.length(4);
        expect(await python.ended).to.equal(0);
      } else {
        const running = sending({ paths: [tree.place], listen: '127.0.0.1:0', plain: true }, heard);
        const { port } = await heard.first('listening');
        const python = new Python('plain_peer.py', 'receive', '--dial', `127.0.0.1:${String(port)}`, place);
        expect((await running).result?.files).to.have.length(4);
        expect(await python.ended).to.equal(0);
      }
      await arrivedIn((name) => readFile(path.join(place, path.basename(tree.place), name)));
      await rm(place, { recursive: true });
    });
  }
});
