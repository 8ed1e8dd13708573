import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { lstat, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { expect } from 'chai';
import { Heard, ReceiveDirectory, temporaryDirectory } from '../receive/receive-directory';
import { sending, SourceTree } from '../send/source-tree';
import { MiB, noise } from '../session/pair';
import type { SendallProcess } from '../cli/sendall-process';
import { SessionRun } from '../cli/session-run';
import { skipTest } from '../skip-test';

const program = path.join(__dirname, '..', '..', 'fixtures', 'python', 'session_peer.py');

interface Line {
  readonly ticket?: string;
  readonly code?: string;
  readonly receipt?: { readonly file: number; readonly repaired?: number };
  readonly segments?: number;
}

/** The other implementation, running. */
class Peer {
  readonly ended: Promise<number | null>;
  private printed = '';
  private readonly child: ChildProcess;

  constructor(...words: readonly string[]) {
    this.child = spawn('python3', [program, ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
    this.child.stdout?.on('data', (piece) => (this.printed += String(piece)));
    this.ended = new Promise((resolve) => this.child.once('close', (code) => resolve(code)));
  }

  get lines(): Line[] {
    return this.printed
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Line);
  }

  get segments(): number {
    return this.lines.find(({ segments }) => segments !== undefined)?.segments ?? NaN;
  }

  /** Where it listens: its ticket, or the code that it shows. */
  async ticket(): Promise<string> {
    while (this.lines.length === 0 && this.child.exitCode === null)
      await new Promise((resolve) => setTimeout(resolve, 5));
    return this.lines[0]?.ticket ?? this.lines[0]?.code ?? '';
  }
}

describe('a session with another implementation, in Python, written from PROTOCOL.md alone (fixtures/python/session_peer.py)', function () {
  this.timeout(60_000);
  const large = noise(4 * MiB + 17);
  const files = { 'd/empty': '', 'd/small': 'small', 'd/Größe': noise(70_000), 'd/large': large };
  const options = { digest: 'sha256', connections: 1, retryFor: 0 } as const;
  let tree: SourceTree;
  let directory: ReceiveDirectory;
  let place: string;

  before(async function () {
    if (spawnSync('python3', ['--version']).status !== 0 || spawnSync('openssl', ['version']).status !== 0) {
      skipTest(this, 'python3 or openssl is not installed, so no other implementation is talked to');
    }
    tree = await SourceTree.make(files);
  });
  after(() => tree?.remove());
  beforeEach(async () => {
    directory = await ReceiveDirectory.open();
    place = await temporaryDirectory();
  });
  afterEach(async () => {
    await directory.close();
    await rm(place, { recursive: true });
  });

  async function arrivedIn(root: string): Promise<void> {
    for (const [name, content] of Object.entries(files)) {
      expect((await readFile(path.join(root, name))).equals(Buffer.from(content)), name).to.equal(true);
      expect((await lstat(path.join(root, name))).mtimeMs, name).to.equal((await lstat(tree.at(name))).mtimeMs);
    }
  }

  it('it is one program of at most 700 lines: so much is a peer, both sides of it', async () => {
    const program = await readFile(path.join(__dirname, '..', '..', 'fixtures', 'python', 'session_peer.py'), 'utf8');
    expect(program.split('\n').length - 1).to.be.at.most(700);
  });

  it('it sends and dials', async () => {
    const peer = new Peer('send', '--dial', directory.ticket, tree.at('d'));
    expect(await peer.ended).to.equal(0);
    expect(peer.lines.filter(({ receipt }) => receipt)).to.have.length(5);
    await arrivedIn(directory.place);
  });

  it('it sends and listens', async () => {
    const peer = new Peer('send', '--listen', '127.0.0.1:0', tree.at('d'));
    expect((await directory.receiver.dial(await peer.ticket())).files).to.equal(4);
    expect(await peer.ended).to.equal(0);
    await arrivedIn(directory.place);
  });

  it('it receives and listens', async () => {
    const peer = new Peer('receive', '--listen', '127.0.0.1:0', place);
    const { error, failed } = await sending({ paths: [tree.at('d')], target: await peer.ticket(), ...options });
    expect([error?.message, failed]).to.deep.equal([undefined, []]);
    expect(await peer.ended).to.equal(0);
    await arrivedIn(place);
  });

  it('it receives and dials', async () => {
    const heard = new Heard();
    const running = sending({ paths: [tree.at('d')], listen: '127.0.0.1:0', ...options }, heard);
    const peer = new Peer('receive', '--dial', (await heard.first('listening')).ticket ?? '', place);
    const { error, failed } = await running;
    expect([error?.message, failed]).to.deep.equal([undefined, []]);
    expect(await peer.ended).to.equal(0);
    await arrivedIn(place);
  });

  it('a small file in BLAKE3, which it computes itself', async () => {
    const peer = new Peer('receive', '--listen', '127.0.0.1:0', place);
    const { result } = await sending({
      paths: [tree.at('d/small')],
      target: await peer.ticket(),
      ...options,
      digest: 'blake3',
    });
    expect(result?.files.map(({ digests }) => Object.keys(digests))).to.deep.equal([['blake3']]);
    expect(await peer.ended).to.equal(0);
  });

  it('it goes on with what our receiver kept of it', async () => {
    const broken = new Peer('send', '--dial', directory.ticket, '--break-after', '3', tree.at('d/large'));
    expect(await broken.ended).to.equal(3);
    const again = new Peer('send', '--dial', directory.ticket, tree.at('d/large'));
    expect(await again.ended).to.equal(0);
    expect(again.segments).to.be.within(1, 4);
    expect((await directory.read('large')).equals(large)).to.equal(true);
  });

  it('our sender goes on with what it kept', async () => {
    const broken = new Peer('receive', '--listen', '127.0.0.1:0', '--break-after', '3', place);
    const { error } = await sending({ paths: [tree.at('d/large')], target: await broken.ticket(), ...options });
    expect(error?.code).to.equal('connection-lost');
    expect(await broken.ended).to.equal(3);
    const again = new Peer('receive', '--listen', '127.0.0.1:0', place);
    const { result } = await sending({ paths: [tree.at('d/large')], target: await again.ticket(), ...options });
    expect(result?.files[0]?.bytes_on_wire).to.be.within(MiB, 3 * MiB);
    expect(await again.ended).to.equal(0);
    expect(again.segments).to.equal(2);
    expect((await readFile(path.join(place, 'large'))).equals(large)).to.equal(true);
  });

  it('it sends again what our receiver found damaged, and nothing else', async () => {
    const peer = new Peer('send', '--dial', directory.ticket, '--damage', '2', tree.at('d/large'));
    expect(await peer.ended).to.equal(0);
    expect(peer.lines.find(({ receipt }) => receipt)?.receipt?.repaired).to.equal(1);
    expect(peer.segments).to.equal(6);
    expect((await directory.read('large')).equals(large)).to.equal(true);
  });

  it('our sender sends again what it found damaged, and nothing else', async () => {
    const peer = new Peer('receive', '--listen', '127.0.0.1:0', '--damage', '2', place);
    const { error } = await sending({ paths: [tree.at('d/large')], target: await peer.ticket(), ...options });
    expect(error?.message).to.equal(undefined);
    expect(await peer.ended).to.equal(0);
    expect(peer.lines.find(({ receipt }) => receipt)?.receipt?.repaired).to.equal(1);
    expect(peer.segments).to.equal(6);
    expect((await readFile(path.join(place, 'large'))).equals(large)).to.equal(true);
  });

  it('both of its sides', async () => {
    const receiver = new Peer('receive', '--listen', '127.0.0.1:0', place);
    const sender = new Peer('send', '--dial', await receiver.ticket(), tree.at('d'));
    expect(await Promise.all([sender.ended, receiver.ended])).to.deep.equal([0, 0]);
    await arrivedIn(place);
  });

  describe('codes', () => {
    const letter = { 'letter.txt': 'hello\n' };
    let run: SessionRun;
    beforeEach(() => {
      run = new SessionRun(letter);
    });
    afterEach(() => run.end());
    const env = (): NodeJS.ProcessEnv => ({ XDG_CONFIG_HOME: run.at('config') });
    const codeOf = async (listener: SendallProcess): Promise<string> =>
      (await listener.says(/\d{4}-[a-z]+-[a-z]+@127\.0\.0\.1:\d+/))[0];

    it('it computes what the vectors of the draft and of PROTOCOL.md 28 say', () => {
      const { status, stdout } = spawnSync('python3', [path.join(path.dirname(program), 'codes.py')]);
      expect({ status, vectors: Number(String(stdout)) }).to.deep.equal({ status: 0, vectors: 16 });
    });

    it('it types the code of our receiver and of our sender (the built command)', async () => {
      const { receiver } = await run.receive(['--code', '--once'], env());
      const shown = await codeOf(receiver);
      const wrong = new Peer('send', '--dial', shown.replace(/-[a-z]+-/, '-wrong-'), run.at('letter.txt'));
      expect(await wrong.ended).to.equal(1);
      expect(await new Peer('send', '--dial', shown, run.at('letter.txt')).ended).to.equal(0);
      expect((await receiver.ended).code).to.equal(0);
      expect(run.read('letter.txt').toString()).to.equal('hello\n');
      const sender = run.start(
        ['send', 'letter.txt', '--code', '--listen', '127.0.0.1:0', '--digest', 'sha256'],
        env(),
      );
      expect(await new Peer('receive', '--dial', await codeOf(sender), place).ended).to.equal(0);
      expect((await sender.ended).code).to.equal(0);
      expect((await readFile(path.join(place, 'letter.txt'))).toString()).to.equal('hello\n');
    });

    it('it shows a code to our sender and to our receiver (the built command)', async () => {
      const code = ['--listen', '127.0.0.1:0', '--code', '4821-crane-velvet'];
      const receiver = new Peer('receive', ...code, place);
      const shown = (await receiver.ticket()).replace('crane-velvet', 'cran-VELV');
      const wrong = await run.run(['send', 'letter.txt', shown.replace('cran', 'zoo')], { env: env() });
      expect(wrong.code).to.equal(3);
      const sent = await run.run(['send', 'letter.txt', shown, '--digest', 'sha256'], { env: env() });
      expect(sent.code, sent.stderr).to.equal(0);
      expect(await receiver.ended).to.equal(0);
      expect((await readFile(path.join(place, 'letter.txt'))).toString()).to.equal('hello\n');
      const sender = new Peer('send', ...code, run.at('letter.txt'));
      const received = await run.run(['receive', 'in', await sender.ticket()], { env: env() });
      expect(received.code, received.stderr).to.equal(0);
      expect(await sender.ended).to.equal(0);
      expect(run.read('letter.txt').toString()).to.equal('hello\n');
    });
  });
});
