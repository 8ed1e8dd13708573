import { expect } from 'chai';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createReceiver, send, TransferError } from '../lib/index';
import { skipTest } from './skip-test';

const readme = path.join(__dirname, '..', 'README.md');
const hasPython = spawnSync('python3', ['--version']).status === 0;

async function programs(): Promise<string[]> {
  return [...(await readFile(readme, 'utf8')).matchAll(/```python\n(.*?)```/gs)].map(([, program = '']) => program);
}

describe('the README', () => {
  let directory = '';

  beforeEach(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'sendall-readme-'));
  });

  afterEach(() => rm(directory, { recursive: true, force: true }));

  it('has a sender and a receiver in Python of about 20 lines each', async () => {
    const found = await programs();
    expect(found).to.have.lengthOf(2);
    for (const program of found)
      expect(
        program
          .trim()
          .split('\n')
          .filter((line) => line !== '').length,
      ).to.be.at.most(20);
  });

  it('has a sender that gets a receipt from our receiver', async function () {
    if (!hasPython) skipTest(this, 'python3 is not installed');
    const [sender = ''] = await programs();
    await writeFile(path.join(directory, 'send.py'), sender);
    await writeFile(path.join(directory, 'a.bin'), Buffer.alloc(3_000_001, 'sendall'));
    const inbox = await mkdtemp(path.join(directory, 'inbox-'));
    const receiver = await createReceiver({ directory: inbox });
    try {
      const { port } = await receiver.listen('127.0.0.1:0');
      const child = spawn('python3', ['send.py', '127.0.0.1', String(port), 'a.bin'], { cwd: directory });
      let printed = '';
      child.stdout.on('data', (text: Buffer) => (printed += text.toString()));
      const [code] = (await once(child, 'close')) as [number];
      expect(code).to.equal(0);
      expect(JSON.parse(printed)).to.include({ type: 'receipt', file_name: 'a.bin', file_size: 3_000_001 });
      expect(await readFile(path.join(inbox, 'a.bin'))).to.deep.equal(Buffer.alloc(3_000_001, 'sendall'));
    } finally {
      await receiver.close();
    }
  });

  it('has an example of the library that runs as it is printed, in a directory with nothing but the photo', async () => {
    const [, example = ''] = /^### As a library\n+```ts\n(.*?)^```$/ms.exec(await readFile(readme, 'utf8')) ?? [];
    await mkdir(path.join(directory, 'node_modules'));
    await symlink(path.dirname(readme), path.join(directory, 'node_modules', 'sendall'));
    await writeFile(path.join(directory, 'example.mjs'), example);
    await writeFile(path.join(directory, 'photo.jpg'), 'a photo');
    const { status, stdout, stderr } = spawnSync(process.execPath, ['example.mjs'], {
      cwd: directory,
      encoding: 'utf8',
    });
    expect(status, stderr).to.equal(0);
    expect(stdout).to.match(/^(device|cache) [0-9a-f]{32}\n$/);
    expect(await readFile(path.join(directory, 'inbox', 'photo.jpg'), 'utf8')).to.equal('a photo');
  });

  it('has a receiver that takes files of our sender, which says "sent, not confirmed"', async function () {
    if (!hasPython) skipTest(this, 'python3 is not installed');
    const [, receiver = ''] = await programs();
    const inbox = await mkdtemp(path.join(directory, 'inbox-'));
    await writeFile(path.join(directory, 'receive.py'), receiver);
    await writeFile(path.join(directory, 'a.bin'), Buffer.alloc(3_000_001, 'sendall'));
    await writeFile(path.join(directory, 'empty'), '');
    const child = spawn('python3', ['../receive.py', '0'], { cwd: inbox });
    let printed = '';
    child.stdout.on('data', (text: Buffer) => (printed += text.toString()));
    while (!/\d+\n/.test(printed)) await once(child.stdout, 'data');
    const port = /\d+/.exec(printed)?.[0] ?? '';
    const closed = once(child, 'close') as Promise<[number]>;
    const ended = await send({
      paths: [path.join(directory, 'a.bin'), path.join(directory, 'empty')],
      target: `tcp://127.0.0.1:${port}`,
    }).catch((error: unknown) => error);
    expect(ended).to.be.instanceOf(TransferError).and.include({ code: 'not-confirmed' });
    expect((await closed)[0]).to.equal(0);
    expect(await readFile(path.join(inbox, 'a.bin'))).to.deep.equal(Buffer.alloc(3_000_001, 'sendall'));
    expect(await readFile(path.join(inbox, 'empty'))).to.have.lengthOf(0);
  });
});
