import { spawn } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect } from 'chai';
import { encodeFrame, HeaderDecoder, type JsonObject } from '../../lib/wire/frame';
import { RawSession } from '../session/raw-session';
import { eventually, SessionRun, ticketOf } from './session-run';
import { skipTest } from '../skip-test';

const main = join(__dirname, '..', '..', 'dist', 'cli', 'main.js');

describe('cli: a peer that lies (the built command)', () => {
  let run: SessionRun;
  let server: Server | undefined;
  beforeEach(() => {
    run = new SessionRun({ small: 'hello\n', large: Buffer.alloc(16 * 2 ** 20, 1) });
  });
  afterEach(async () => {
    server?.close();
    await run.end();
  });

  /** A plain receiver that answers the first header with what `answer` makes of it, and reads no further. */
  async function plainReceiver(answer: (header: JsonObject) => object): Promise<string> {
    const accept = (socket: Socket): void => {
      const decoder = new HeaderDecoder();
      socket
        .on('error', () => undefined)
        .on('data', (bytes) => {
          if (!decoder.header) decoder.push(bytes);
          if (!decoder.header) return;
          socket.pause();
          socket.end(encodeFrame(answer(decoder.header)));
        });
    };
    server = createServer(accept);
    await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
    return `tcp://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  }

  it('has no receipt printed for a file of which it has not got everything', async () => {
    const target = await plainReceiver(({ file_name, file_size, md5 }) => ({
      type: 'receipt',
      file_name,
      file_size,
      md5,
      verified: 'device',
      path: file_name,
    }));
    const plain = await run.run(['send', 'large', target]);
    expect(plain.stdout).not.to.include('verified');
    expect(plain.code).not.to.equal(0);
    const sender = run.start([
      'send',
      'large',
      '--listen',
      '127.0.0.1:0',
      '--json',
      '--digest',
      'sha256',
      '--limit',
      '1M',
    ]);
    const raw = await RawSession.open(await ticketOf(sender), { hello: { role: 'receiver', digest: undefined } });
    await raw.first('offer');
    await raw.sendList({ type: 'answer' }, [0]);
    await raw.sendList({ type: 'receipts' }, [{ file: 0, verified: 'device', digests: { sha256: '0'.repeat(64) } }]);
    const ended = await sender.ended;
    expect(ended.stdout).not.to.include('"event":"sent"');
    expect(ended.code).not.to.equal(0);
  });

  it('begins no line of its own, with --verbose either, and colours none', async () => {
    const target = await plainReceiver(({ file_name }) => ({
      type: 'refusal',
      file_name,
      code: 'name',
      message: 'No.\nsendall: all is well\u001b[2J\r\u202eevil',
      hint: 'a\nb',
    }));
    for (const words of [[], ['--verbose']]) {
      const { stdout, stderr } = await run.run(['send', 'small', target, ...words]);
      expect(stdout + stderr).not.to.match(/^(sendall: all is well|b$)|[\u001b\r\u202e]/m);
      expect(stderr).to.include('No.\\u000asendall');
    }
  });

  it('is told no path of the receiver', async () => {
    const { receiver, ticket } = await run.receive(['--json']);
    writeFileSync(run.at('in', 'taken'), '');
    const taken = await run.run(['backup', 'small', ticket, '--name', 'taken', '--retry-for', '0s']);
    expect(taken.stderr).not.to.match(/\/(proc|tmp)\//);
    rmSync(run.at('in', '.sendall'), { recursive: true });
    const { port } = new URL(ticket.replace('sendall:', 'http:'));
    for (const target of [ticket, `tcp://127.0.0.1:${port}`]) {
      const refused = await run.run(['send', 'small', 'large', target, '--verbose', '--retry-for', '0s']);
      expect(refused.stdout + refused.stderr).not.to.include(run.at('in'));
    }
    receiver.child.kill('SIGKILL');
  });
});

describe('cli: a key that wants everything for itself (the built command)', () => {
  it('leaves sessions to others, however many it opens', async () => {
    const run = new SessionRun({ small: 'hello\n' });
    const env = { XDG_CONFIG_HOME: run.at('config') };
    const { ticket } = await run.receive([], env);
    const address = new URL(ticket.replace('sendall:', 'http:')).host;
    const made = await run.run(['authorize', 'greedy', '--address', address, '--quiet', '--rights', 'write'], { env });
    const sessions = await Promise.all(Array.from({ length: 64 }, () => RawSession.dial(made.stdout.trim())));
    const beat = setInterval(() => void sessions.map((raw) => raw.send({ type: 'heartbeat' })), 5_000);
    await Promise.all(sessions.slice(0, 40).map((raw) => raw.first('hello')));
    expect(await run.run(['send', 'small', ticket, '--retry-for', '0s'])).to.include({ code: 0 });
    clearInterval(beat);
    for (const raw of sessions) raw.hangUp();
    await run.end();
  });
});

describe('cli: what another key has stored (the built command)', () => {
  it('has no receipt for who tells its name, size and times, and no further name', async () => {
    const run = new SessionRun({ small: 'hello\n', large: Buffer.alloc(2 * 2 ** 20, 1) });
    const env = { XDG_CONFIG_HOME: run.at('config') };
    const { ticket } = await run.receive([], env);
    const address = new URL(ticket.replace('sendall:', 'http:')).host;
    const authorize = async (name: string, rights: string): Promise<string> =>
      (await run.run(['authorize', name, '--address', address, '--quiet', '--rights', rights], { env })).stdout.trim();
    const one = await authorize('one', 'write');
    expect(await run.run(['send', 'small', 'large', one])).to.include({ code: 0 });
    const files = ['small', 'large'].map((name, file) => {
      const { size, mtimeNs, ctimeNs } = statSync(run.at(name), { bigint: true });
      const times = { mtime: String(mtimeNs), ctime: String(ctimeNs) };
      return { file, type: 'file', name, mode: 0o644, size: Number(size), ...times };
    });
    const link = { file: 2, type: 'link', name: 'mine', target: 'small', mtime: '0' };
    for (const key of [await authorize('other', 'write'), await authorize('admin', 'admin'), ticket, one]) {
      const raw = await RawSession.open(key, { hello: { digest: 'blake3' } });
      await raw.sendList({ type: 'offer' }, [...files, ...(key === one ? [] : [link])]);
      const known = await Promise.all(
        files.map(({ file }) => Promise.race([raw.outcome(file).then(() => true), raw.wanted(file).then(() => false)])),
      );
      expect(known).to.deep.equal([key === one, key === one]);
      if (key !== one) {
        for (const { file } of files) await raw.send({ type: 'drop', file });
        await raw.finish();
        expect(await raw.outcome(2)).to.include({ code: 'exists' });
      }
      raw.hangUp();
    }
    expect(run.received()).to.have.members(['small', 'large']);
    await run.end();
  });
});

describe('cli: output that nobody reads (the built command)', () => {
  for (const words of ['--help', 'send --help', '--version'])
    it(`ends ${words} without a word`, async () => {
      const child = spawn('sh', ['-c', `(sleep 0.2; "${process.execPath}" "${main}" ${words}) | true`], {
        env: { ...process.env, XDG_CONFIG_HOME: '/nonexistent' },
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      let stderr = '';
      child.stderr.on('data', (bytes: Buffer) => (stderr += bytes.toString()));
      await new Promise((resolve) => child.once('close', resolve));
      expect(stderr).to.equal('');
    });
});

describe('cli: a configuration file of somebody else (the built command)', () => {
  let run: SessionRun;
  let config: string;
  beforeEach(() => {
    run = new SessionRun({ 'a.txt': 'hello\n' });
    mkdirSync(run.at('config', 'sendall'), { recursive: true, mode: 0o755 });
    config = run.at('config', 'sendall', 'config.json');
    writeFileSync(config, JSON.stringify({ receive: { 'on-received': `touch ${run.at('ran')}` } }), { mode: 0o644 });
  });
  afterEach(() => run.end());

  const obeys = async (): Promise<boolean> => {
    const receiver = run.start(['receive', 'in', '--listen', '127.0.0.1:0', '--once'], {
      XDG_CONFIG_HOME: run.at('config'),
    });
    const ticket = await ticketOf(receiver).catch(() => undefined);
    if (ticket === undefined) {
      const { code, stderr } = await receiver.ended;
      expect(code).to.equal(2);
      expect(stderr).to.match(/configuration file .*config\.json/);
      return false;
    }
    expect(await run.run(['send', 'a.txt', ticket])).to.include({ code: 0 });
    await eventually(() => (existsSync(run.at('ran')) ? true : undefined));
    await receiver.ended;
    return true;
  };

  it('is obeyed where it is ours and only ours to write', async () => {
    expect(await obeys()).to.equal(true);
  });

  it('is refused where others can write to it', async () => {
    for (const mode of [0o666, 0o664, 0o646]) {
      chmodSync(config, mode);
      expect(await obeys(), mode.toString(8)).to.equal(false);
    }
  });

  it('is refused where it belongs to another user', async function () {
    if (process.geteuid?.() !== 0) skipTest(this, 'only root can do this');
    chownSync(config, 65534, 65534);
    expect(await obeys()).to.equal(false);
  });
});
