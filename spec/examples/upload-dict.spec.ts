import { expect } from 'chai';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { badClient, badServer, closeBadPeers, huge, negative } from './bad-peer';
import { describeWithPython, Program } from './programs';

function literal(text: string, payload = ''): Buffer {
  const length = Buffer.alloc(4);
  length.writeInt32LE(Buffer.byteLength(text));
  return Buffer.concat([length, Buffer.from(text + payload)]);
}

describe('the example upload-dict', () => {
  let directory = '';
  let inbox = '';

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'sendall-dict-'));
    inbox = mkdtempSync(join(directory, 'inbox-'));
  });
  afterEach(closeBadPeers);
  afterEach(() => Program.killAll());
  afterEach(() => rmSync(directory, { recursive: true }));

  const received = (): string[] => readdirSync(inbox).filter((name) => name !== '.sendall');
  const content = Buffer.alloc(300_001, 'dict');

  describeWithPython('with Python', () => {
    it('receives uploads of Python, stored but not verified, whatever quotes the name has', async () => {
      writeFileSync(join(directory, 'a.bin'), content);
      writeFileSync(join(directory, 'empty'), '');
      const receiver = Program.example('upload-dict', 'receive', inbox);
      const port = await receiver.port();
      for (const name of ['a.bin', "it's.bin", `both '".bin`, '你好.bin']) {
        await Program.python('upload_dict.py', 'upload', port, join(directory, 'a.bin'), name).succeeds();
        await receiver.says(/300001 bytes, stored, not verified\n$/);
      }
      await Program.python('upload_dict.py', 'upload', port, join(directory, 'empty')).succeeds();
      await receiver.says(/empty: 0 bytes, stored, not verified/);
      expect(received().sort()).to.deep.equal(['a.bin', `both '".bin`, 'empty', "it's.bin", '你好.bin']);
      for (const name of received())
        expect(readFileSync(join(inbox, name)).equals(name === 'empty' ? Buffer.alloc(0) : content), name).to.be.true;
    });

    it('uploads to a receiver of Python', async () => {
      const name = `it's "你好".bin`;
      writeFileSync(join(directory, name), content);
      const receiving = Program.python('upload_dict.py', 'receive', inbox);
      const said = await Program.example(
        'upload-dict',
        'upload',
        '--port',
        await receiving.port(),
        join(directory, name),
      ).succeeds();
      expect(said).to.match(/300001 bytes, sent, not confirmed/);
      await receiving.succeeds();
      expect(readFileSync(join(inbox, name)).equals(content)).to.be.true;
    });
  });

  it('stores nothing of bad uploads, says what is wrong in one line each, and serves on', async () => {
    const receiver = Program.example('upload-dict', 'receive', inbox, '--patience', 300);
    const port = await receiver.port();
    const bad: readonly [bytes: Uint8Array | string, line: RegExp][] = [
      [negative, /announced -5 bytes/],
      [huge, /announced 2147483647 bytes/],
      ['', /within 0\.3 s/],
      [literal("__import__('os').abort()"), /header is not/],
      [literal("{'filename': 'a', 'filesize': -5}"), /file of -5 bytes/],
      [literal("{'filename': 'a', 'filesize': 99999999999}"), /file of 99999999999 bytes/],
      [literal("{'filename': '../a', 'filesize': 1}", 'x'), /\.\./],
      [literal("{'filename': '\\x00', 'filesize': 1}", 'x'), /name/i],
      [literal("{'filename': 'slow', 'filesize': 9}", 'x'), /within 0\.3 s/],
    ];
    for (const [bytes, line] of bad) {
      await badClient(port, bytes);
      await receiver.says(line);
    }
    await badClient(port, literal("{'filename': 'cut', 'filesize': 9}", 'x'), 'closes');
    await receiver.says(/closed after 1 of 9 bytes/);
    expect(received()).to.deep.equal([]);
    await badClient(port, literal("{'filename': 'good', 'filesize': 1}", 'x'), 'closes');
    await receiver.says(/good: 1 bytes, stored/);
    expect(received()).to.deep.equal(['good']);
  });

  it('ends in one line where the receiver never closes, or there is no such file', async () => {
    writeFileSync(join(directory, 'a.bin'), 'x');
    const port = await badServer('');
    await Program.example('upload-dict', 'upload', '--patience', 300, '--port', port, join(directory, 'a.bin')).fails(
      /within 0\.3 s/,
    );
    await Program.example('upload-dict', 'upload', '--port', port, join(directory, 'none')).fails(/ENOENT/);
  });
});
