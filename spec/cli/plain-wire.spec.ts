import { spawn, spawnSync } from 'node:child_process';
import { chmodSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { createConnection } from 'node:net';
import { release } from 'node:os';
import { expect } from 'chai';
import { keepsOwner } from '../../lib/net/peer-user';
import { encodeFrame } from '../../lib/wire/frame';
import type { SendallProcess } from './sendall-process';
import { SessionRun } from './session-run';
import { skipTest } from '../skip-test';

const content = Buffer.from('planted\n');
const frame = Buffer.concat([
  encodeFrame({
    file_name: 'planted',
    file_size: content.length,
    md5: createHash('md5').update(content).digest('hex'),
    reply: true,
  }),
  content,
]);

/**
 * What another user of this machine runs: dials, says the bytes, and prints what comes back; `abrupt` closes at once.
 */
const stranger = `
import socket, sys
where, said, abrupt = sys.argv[1], bytes.fromhex(sys.argv[2]), sys.argv[3] == 'abrupt'
if where.startswith('unix:'):
    wire = socket.socket(socket.AF_UNIX)
    wire.connect(where[5:])
else:
    host, port = where[6:].rsplit(':', 1)
    wire = socket.create_connection((host.strip('[]'), int(port)))
if said: wire.sendall(said)
if abrupt: sys.exit()
if said: wire.shutdown(socket.SHUT_WR)
wire.settimeout(2)
try:
    while piece := wire.recv(65536): sys.stdout.buffer.write(piece)
except (TimeoutError, ConnectionError): pass
`;

/** Resolves with what the receiver or sender answered. */
async function as(
  user: number,
  where: string,
  said: Uint8Array,
  how: 'abrupt' | 'patient' = 'patient',
): Promise<string> {
  const program = spawn(
    'setpriv',
    [
      `--reuid=${String(user)}`,
      '--clear-groups',
      '/usr/bin/python3',
      '-c',
      stranger,
      where,
      Buffer.from(said).toString('hex'),
      how,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  let heard = '';
  program.stdout.on('data', (bytes: Buffer) => (heard += bytes.toString('latin1')));
  await new Promise((resolve) => program.once('close', resolve));
  return heard;
}

const nobody = 65534;
const canBeOthers =
  process.geteuid?.() === 0 &&
  spawnSync('setpriv', [`--reuid=${String(nobody)}`, '/usr/bin/python3', '-c', '']).status === 0;

describe('cli: the plain wire on one machine (the built command)', () => {
  let run: SessionRun;
  beforeEach(() => {
    run = new SessionRun({ 'a.txt': 'hello\n' });
    chmodSync(run.directory, 0o755); // its sockets are to be reached by others
  });
  afterEach(() => run.end());

  const receive = async (
    ...words: readonly string[]
  ): Promise<{ readonly receiver: SendallProcess; readonly where: string }> => {
    const { receiver } = await run.receive(['--json', ...words]);
    return { receiver, where: (await receiver.says(/"address":"([^"]+)"/))[1] ?? '' };
  };

  describe('another user', () => {
    before(function () {
      if (!canBeOthers) skipTest(this, 'only root can be somebody else');
    });

    for (const address of ['[::1]:0', '[::]:0'])
      it(`is refused at ${address}, whether it waits for an answer or closes at once, and the same user is not`, async () => {
        const { receiver, where } = await receive('--listen', address);
        const dialed = where.replace('[::]', '127.0.0.1');
        expect(await as(nobody, dialed, frame)).to.match(/"not-authorized".*another user \(65534\)/);
        await as(nobody, dialed, frame, 'abrupt');
        await as(nobody, dialed, frame, 'abrupt');
        await receiver.says(/("code":"not-authorized"[^]*){3}/);
        expect(run.received()).to.deep.equal([]);
        expect(await as(0, dialed, frame)).to.include('"receipt"');
        expect(run.received()).to.deep.equal(['planted']);
      });

    it('is refused at a unix socket that is open to all', async () => {
      const { where } = await receive('--listen', `unix:${run.at('socket')}`);
      chmodSync(run.at('socket'), 0o777);
      expect(await as(nobody, where, frame)).to.include('"not-authorized"');
      expect(run.received()).to.deep.equal([]);
      expect(await as(0, where, frame)).to.include('"receipt"');
    });

    it('is taken with --insecure-plain', async () => {
      const { where } = await receive('--insecure-plain');
      expect(await as(nobody, where, frame)).to.include('"receipt"');
    });

    it('gets nothing of a sender that listens, with --plain either, and the ticket still opens', async () => {
      for (const words of [[], ['--plain']]) {
        const sender = run.start(['send', 'a.txt', '--listen', '127.0.0.1:0', '--json', ...words]);
        const [, address = '', ticket = ''] = await sender.says(/"address":"([^"]+)".*"ticket":"([^"]+)"/);
        expect(await as(nobody, address, Buffer.alloc(0)), words.join()).to.equal('');
        expect(await run.run(['receive', 'in', '--from', ticket])).to.include({ code: 0 });
        expect(await sender.ended).to.include({ code: 0 });
      }
    });
  });

  it('a sender that closes without waiting is taken, where the system still tells whose it was', async function () {
    if (!keepsOwner(release())) skipTest(this, 'this system does not say who connects');
    const { receiver, where } = await receive();
    const { port, hostname } = new URL(where);
    // For some 40 ms it does: on a busy machine the receiver may come too late.
    for (let tries = 0; tries < 20 && run.received().length === 0; tries++) {
      const socket = createConnection(Number(port), hostname, () => socket.end(frame, () => socket.destroy()));
      await receiver.says(new RegExp(`("event":"(received|failed)"[^]*){${String(tries + 1)}}`));
    }
    expect(run.received()).to.deep.equal(['planted']);
  });

  it('--no-plain takes nothing without the ticket', async () => {
    const { receiver, ticket } = await run.receive(['--no-plain']);
    await receiver.says(/On this machine/);
    const { port } = new URL(ticket.replace('sendall:', 'http:'));
    const refused = await run.run(['send', 'a.txt', `tcp://127.0.0.1:${port}`]);
    expect(refused).to.include({ code: 3 });
    expect(refused.stderr).to.match(/plain wire is not spoken here/);
    expect(run.received()).to.deep.equal([]);
    expect(await run.run(['send', 'a.txt', ticket])).to.include({ code: 0 });
    receiver.child.kill('SIGINT');
    expect((await receiver.ended).stderr).not.to.match(/Without encryption|tcp:\/\/.*send/);
  });

  for (const words of [[], ['--plain']])
    it(`a sender that listens ${words.length > 0 ? 'with --plain serves whoever says nothing and stays' : 'serves nobody without the ticket'}`, async () => {
      const sender = run.start(['send', 'a.txt', '--listen', '127.0.0.1:0', '--json', ...words]);
      const [, where = '', ticket = ''] = await sender.says(/"address":"([^"]+)".*"ticket":"([^"]+)"/);
      const { port, hostname } = new URL(where);
      const said = [
        'GET / HTTP/1.0\r\n\r\n',
        '\x16\x03\x01\x00\x05nokey',
        '',
        ...(words.length > 0 ? [] : [undefined]),
      ];
      expect((await Promise.all(said.map((each) => heardBy(Number(port), hostname, each)))).join('')).not.to.include(
        'hello',
      );
      expect(await run.run(['receive', 'in', '--from', words.length > 0 ? where : ticket])).to.include({ code: 0 });
      expect(await sender.ended).to.include({ code: 0 });
    });

  it('one who names no file does not end receive --once, nor does one who holds no key', async () => {
    const { receiver, where } = await receive('--once');
    const { port, hostname } = new URL(where);
    for (const said of ['GET / HTTP/1.0\r\n\r\n', '\x16\x03\x01\x00\x05nokey', '', '\x02\0\0\0{}', '\x05\0'])
      await heardBy(Number(port), hostname, said);
    expect(receiver.child.exitCode).to.equal(null);
    const { port: there } = new URL(where);
    expect(await run.run(['send', 'a.txt', `tcp://127.0.0.1:${there}`])).to.include({ code: 0 });
    expect(await receiver.ended).to.include({ code: 0 });
  });
});

/** What a peer hears that says something and finishes, or says nothing for two seconds and goes. */
function heardBy(port: number, host: string, words: string | undefined): Promise<string> {
  return new Promise((resolve) => {
    let heard = '';
    const socket = createConnection({ port, host, allowHalfOpen: true }, () => {
      if (words !== undefined) socket.end(words, 'latin1');
    });
    const late = setTimeout(() => socket.destroy(), 2_000);
    socket.on('data', (bytes) => (heard += bytes.toString('latin1')));
    socket
      .on('error', () => undefined)
      .on('close', () => resolve(heard))
      .on('close', () => clearTimeout(late))
      .on('end', () => socket.end());
  });
}
