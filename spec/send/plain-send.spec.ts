import { expect } from 'chai';
import { truncate, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { encodeFrame } from '../../lib/wire/frame';
import { md5 } from './raw-sender';
import { type RawConnection, RawReceiver } from '../receive/raw-receiver';
import { Heard } from '../receive/receive-directory';
import { bytes, sending, SourceTree } from './source-tree';

const mebibyte = 1024 * 1024;

describe('sending over the plain wire, to receivers of all kinds', () => {
  let tree: SourceTree;
  let receiver: RawReceiver | undefined;

  before(async () => {
    tree = await SourceTree.make({
      'small.txt': 'small',
      'other.txt': 'other',
      'third.txt': 'third',
      'large.bin': bytes(24 * mebibyte),
      'medium.bin': bytes(2 * mebibyte, 7),
    });
  });
  after(() => tree.remove());
  afterEach(async () => {
    await receiver?.close();
    receiver = undefined;
  });

  async function listen(...scripts: readonly ((connection: RawConnection) => unknown)[]): Promise<string> {
    receiver = await RawReceiver.listen(...scripts);
    return receiver.target;
  }
  const paths = (...names: readonly string[]): string[] => names.map((name) => tree.at(name));

  it('sends what the frame says: name, size, md5 and a wish for replies, then the bytes', async () => {
    const files: unknown[] = [];
    const target = await listen(async (connection) => {
      for (let file = await connection.file(); file; file = await connection.file()) {
        files.push({ ...file.header, content: md5(file.content) });
        connection.confirm(file.header);
      }
      connection.socket.end();
    });
    const { result, heard } = await sending({ paths: paths('small.txt', 'medium.bin'), target });
    const large = md5(bytes(2 * mebibyte, 7));
    expect(files).to.deep.equal([
      { file_name: 'small.txt', file_size: 5, md5: md5('small'), reply: true, content: md5('small') },
      { file_name: 'medium.bin', file_size: 2 * mebibyte, md5: large, reply: true, content: large },
    ]);
    expect(result?.files.map(({ verified }) => verified)).to.deep.equal(['device', 'device']);
    expect(heard.events.at(-1)).to.include({ event: 'summary', files: 2, bytes: 2 * mebibyte + 5 });
    expect(result?.summary.bytes_on_wire).to.equal(receiver?.connections[0]?.bytesRead);
  });

  describe('a receiver that says nothing', () => {
    it('closes after all bytes: every file is sent, and none is called verified', async () => {
      const target = await listen(async (connection) => {
        while (await connection.file());
        connection.socket.end();
      });
      const { error, heard, failed } = await sending({ paths: paths('small.txt', 'large.bin', 'other.txt'), target });
      expect(error?.code).to.equal('not-confirmed');
      expect(heard.all('sent').map(({ file_name, verified }) => [file_name, verified])).to.deep.equal([
        ['small.txt', null],
        ['large.bin', null],
        ['other.txt', null],
      ]);
      expect(failed).to.deep.equal([]);
      expect(heard.events.at(-1)).to.include({ event: 'summary', files: 0 });
    });

    it('closes after the last byte of one file: that one is not confirmed', async () => {
      const target = await listen(async (connection) => {
        await connection.file();
        connection.socket.destroy();
      });
      const { error, heard } = await sending({ paths: paths('small.txt'), target });
      expect(error?.code).to.equal('not-confirmed');
      expect(heard.all('sent')[0]).to.include({ verified: null });
    });

    for (const [when, script] of [
      ['at once', (connection: RawConnection) => connection.socket.destroy()],
      [
        'soon, with a reset',
        async (connection: RawConnection) => (await connection.read(1), connection.socket.resetAndDestroy()),
      ],
      [
        'after the header',
        async (connection: RawConnection) => (await connection.header(), connection.socket.destroy()),
      ],
      [
        'in the middle',
        async (connection: RawConnection) => (
          await connection.header(),
          await connection.read(100_000),
          connection.socket.resetAndDestroy()
        ),
      ],
    ] as const) {
      it(`closes ${when}: the file that was cut fails, nothing is called sent, and it ends`, async () => {
        const target = await listen(script);
        const { error, heard, failed } = await sending({ paths: paths('large.bin'), target });
        expect(error?.code).to.equal('connection-lost');
        expect(failed).to.deep.equal(['connection-lost']);
        expect(heard.all('sent')).to.deep.equal([]);
      });

      it(`closes ${when}: the next files go over a new connection`, async () => {
        const target = await listen(script, (connection) => connection.confirmAll());
        const { error, heard, failed } = await sending({
          paths: paths('large.bin', 'small.txt', 'medium.bin'),
          target,
        });
        // Noticed before the first header was sent, it costs nothing.
        if (when === 'at once' && error === undefined) {
          expect(heard.all('sent')).to.have.lengthOf(3);
          return;
        }
        expect(error?.code).to.equal('some-failed');
        expect(failed).to.deep.equal(['connection-lost']);
        expect(heard.all('sent').map(({ file_name, verified }) => [file_name, verified])).to.deep.equal([
          ['small.txt', 'device'],
          ['medium.bin', 'device'],
        ]);
      });
    }

    it('finishes at once and reads nothing: it ends all the same', async () => {
      const target = await listen((connection) => connection.socket.end());
      const { error, failed } = await sending({ paths: paths('large.bin'), target });
      expect(error?.code).to.equal('connection-lost');
      expect(failed).to.deep.equal(['connection-lost']);
    });

    it('never reads: an abort works at once', async () => {
      const target = await listen(() => undefined);
      const heard = new Heard();
      const abort = new AbortController();
      const running = sending({ paths: paths('large.bin', 'small.txt'), target, signal: abort.signal }, heard);
      await heard.first('progress', ({ phase, done }) => phase === 'send' && done > 0);
      const began = performance.now();
      abort.abort();
      const { error, failed } = await running;
      expect(performance.now() - began).to.be.below(500);
      expect(error?.code).to.equal('interrupted');
      expect(failed).to.include('interrupted');
      expect(heard.events.at(-1)).to.include({ event: 'summary' });
    });
  });

  describe('a receiver that says something wrong', () => {
    const wrong: readonly (readonly [string, string, (connection: RawConnection) => unknown])[] = [
      ['garbage', 'bad-frame', (connection) => connection.socket.write('HTTP/1.1 400 Bad Request\r\n\r\n')],
      ['a length of 0', 'bad-frame', (connection) => connection.socket.write(Buffer.alloc(4))],
      [
        'half a header, then FIN',
        'bad-frame',
        (connection) => connection.socket.end(encodeFrame({ type: 'receipt' }).subarray(0, 10)),
      ],
      ['a header that is no reply', 'bad-header', (connection) => connection.answer({ type: 'cheese' })],
      ['a receipt without keys', 'bad-header', (connection) => connection.answer({ type: 'receipt' })],
      [
        'a receipt for another md5',
        'bad-header',
        (connection) =>
          connection.answer({
            type: 'receipt',
            file_name: 'small.txt',
            file_size: 5,
            md5: md5('other'),
            verified: 'device',
            path: 'small.txt',
          }),
      ],
      [
        'a receipt for another name, as the faults of network make one',
        'bad-header',
        (connection) =>
          connection.answer({
            type: 'receipt',
            file_name: 'tmall.txt',
            file_size: 5,
            md5: md5('small'),
            verified: 'device',
            path: 'tmall.txt',
          }),
      ],
      [
        'a receipt for another size',
        'bad-header',
        (connection) =>
          connection.answer({
            type: 'receipt',
            file_name: 'small.txt',
            file_size: 6,
            md5: md5('small'),
            verified: 'device',
            path: 'small.txt',
          }),
      ],
    ];
    for (const [what, code, say] of wrong) {
      it(`${what}: ${code}, never called verified, and the next file goes over a new connection`, async () => {
        const target = await listen(
          async (connection) => {
            await connection.file();
            say(connection);
          },
          (connection) => connection.confirmAll(),
        );
        const heard = new Heard();
        const abort = new AbortController();
        const { error, failed } = await sending(
          { paths: paths('small.txt', 'medium.bin'), target, signal: abort.signal, limit: 16 * mebibyte },
          heard,
        );
        const sent = heard.all('sent').map(({ file_name }) => file_name);
        expect(sent).not.to.include('small.txt');
        expect(failed[0]).to.equal(code);
        expect(['some-failed', code]).to.include(error?.code);
        expect(failed.length + sent.length).to.equal(2);
      });
    }

    it('garbage in the middle of a large file: it stops sending at once', async () => {
      const target = await listen(async (connection) => {
        await connection.header();
        connection.socket.write('garbage!');
      });
      const { error, failed } = await sending({ paths: paths('large.bin'), target });
      expect(error?.code).to.equal('bad-frame');
      expect(failed).to.deep.equal(['bad-frame']);
    });

    it('more receipts than files: what was confirmed stays so, and no other file is confirmed by them', async () => {
      const target = await listen(
        async (connection) => {
          const file = await connection.file();
          for (let times = 0; file && times < 3; times++) connection.confirm(file.header);
          await connection.confirmAll();
        },
        (connection) => connection.confirmAll(),
      );
      const { heard, failed } = await sending({
        paths: paths('small.txt', 'other.txt', 'third.txt'),
        target,
        limit: 400,
      });
      const sent = heard.all('sent').map(({ file_name }) => file_name);
      expect(sent[0]).to.equal('small.txt');
      expect(sent.length + failed.length).to.equal(3);
      expect(new Set(sent).size).to.equal(sent.length);
    });

    it('a code of tomorrow: `unexpected`, with its message', async () => {
      const target = await listen(async (connection) => {
        await connection.file();
        connection.answer({ type: 'refusal', file_name: 'small.txt', code: 'full-moon', message: 'Not tonight.' });
        await connection.confirmAll();
      });
      const { error } = await sending({ paths: paths('small.txt'), target });
      expect(error).to.include({ code: 'unexpected', message: 'Not tonight.', fileName: 'small.txt' });
    });
  });

  describe('a receiver that refuses', () => {
    it('a small file: that one fails with the same code, the next ones go on over the same connection', async () => {
      const target = await listen(async (connection) => {
        const file = await connection.file();
        connection.answer({
          type: 'refusal',
          file_name: file?.header['file_name'],
          code: 'exists',
          message: 'It is there.',
          hint: 'Look.',
        });
        await connection.confirmAll();
      });
      const { error, heard } = await sending({ paths: paths('small.txt', 'medium.bin', 'other.txt'), target });
      expect(heard.all('failed')).to.deep.equal([
        { event: 'failed', file_name: 'small.txt', code: 'exists', message: 'It is there.', hint: 'Look.' },
      ]);
      expect(heard.all('sent')).to.have.length(2);
      expect(error?.code).to.equal('some-failed');
      expect(receiver?.connections).to.have.length(1);
    });

    it('in the middle of a large file: the rest stays here, and the next files go over a new connection', async () => {
      const names: string[] = [];
      const target = await listen(
        async (connection) => {
          const header = await connection.header();
          connection.answer({ type: 'refusal', file_name: header?.['file_name'], code: 'quota', message: 'Too much.' });
          while ((await connection.read(mebibyte)).length > 0) await new Promise((resolve) => setTimeout(resolve, 1));
          connection.socket.end();
        },
        async (connection) => names.push(...(await connection.confirmAll())),
      );
      const { error, heard, failed } = await sending({
        paths: paths('large.bin', 'small.txt', 'other.txt'),
        target,
        limit: 60 * mebibyte,
      });
      expect(failed).to.deep.equal(['quota']);
      expect(error?.code).to.equal('some-failed');
      expect(heard.all('sent').map(({ file_name }) => file_name)).to.deep.equal(['small.txt', 'other.txt']);
      expect(receiver?.connections[0]?.bytesRead, 'the rest was not sent').to.be.below(20 * mebibyte);
    });

    it('everything (not-authorized): no further connection is tried', async () => {
      const target = await listen(async (connection) => {
        await connection.header();
        connection.answer({ type: 'refusal', code: 'not-authorized', message: 'No.' });
        connection.socket.end();
      });
      const { heard } = await sending({ paths: paths('large.bin', 'small.txt', 'other.txt'), target });
      expect(heard.all('failed')[0]).to.include({ code: 'not-authorized' });
      expect(heard.all('sent')).to.deep.equal([]);
      expect(receiver?.connections).to.have.length(1);
    });

    it('and says that this is as it should be (skipped): no failure', async () => {
      const target = await listen(async (connection) => {
        await connection.file();
        connection.answer({ type: 'refusal', file_name: 'small.txt', code: 'exists', message: 'Kept.', skipped: true });
        await connection.confirmAll();
      });
      const { error, heard } = await sending({ paths: paths('small.txt', 'other.txt'), target });
      expect(error).to.equal(undefined);
      expect(heard.all('skipped')).to.deep.equal([{ event: 'skipped', file_name: 'small.txt', reason: 'Kept.' }]);
    });
  });

  for (const [what, change] of [
    ['shrinks', (place: string) => truncate(place, 100)],
    ['is gone, and a shorter one is in its place,', (place: string) => writeFile(place, 'short')],
  ] as const) {
    it(`a file that ${what} while the limit keeps its sender waiting: source-changed, and the next ones arrive`, async () => {
      await tree.write('changing.bin', bytes(12 * mebibyte, 3));
      const target = await listen(
        async (connection) => {
          await connection.header();
          await change(tree.at('changing.bin'));
          while ((await connection.read(mebibyte)).length > 0);
          connection.socket.end();
        },
        async (connection) => void (await connection.confirmAll()),
      );
      const unhandled: unknown[] = [];
      const note = (error: unknown): void => void unhandled.push(error);
      process.on('unhandledRejection', note);
      const { error, heard, failed } = await sending({
        paths: paths('changing.bin', 'small.txt'),
        target,
        limit: 8 * mebibyte,
      }).finally(() => process.off('unhandledRejection', note));
      expect(unhandled).to.deep.equal([]);
      expect(failed).to.deep.equal(['source-changed']);
      expect(error?.code).to.equal('some-failed');
      expect(heard.all('sent').map(({ file_name }) => file_name)).to.deep.equal(['small.txt']);
    });
  }

  it('reads answers while it sends: 2,000 of them do not block it', async () => {
    const many = await SourceTree.make(
      Object.fromEntries(Array.from({ length: 2000 }, (_, at) => [`many/${String(at).padStart(4, '0')}`, ''])),
    );
    try {
      const target = await listen((connection) => connection.confirmAll());
      const { result } = await sending({ paths: [many.at('many')], target });
      expect(result?.files).to.have.length(2000);
    } finally {
      await many.remove();
    }
  });

  it('nobody there: cannot-connect, once, and no file is called failed by itself', async () => {
    const free = await new Promise<number>((resolve) => {
      const server = net.createServer().listen(0, '127.0.0.1', () => {
        const { port } = server.address() as net.AddressInfo;
        server.close(() => resolve(port));
      });
    });
    const { error, heard } = await sending({
      paths: paths('small.txt', 'large.bin'),
      target: `tcp://127.0.0.1:${String(free)}`,
    });
    expect(error?.code).to.equal('cannot-connect');
    expect(heard.all('failed').map(({ code }) => code)).to.deep.equal(['cannot-connect']);
  });

  it('answers in pieces of one byte are answers', async () => {
    const target = await listen(async (connection) => {
      const file = await connection.file();
      const { file_name, file_size } = file?.header ?? {};
      for (const byte of encodeFrame({
        type: 'receipt',
        file_name,
        file_size,
        md5: file?.header['md5'],
        verified: 'cache',
        path: 'small.txt',
      })) {
        await new Promise<void>((resolve) => connection.socket.write(Uint8Array.of(byte), () => resolve()));
      }
      await connection.confirmAll();
    });
    const { result } = await sending({ paths: paths('small.txt'), target });
    expect(result?.files[0]).to.include({ verified: 'cache' });
  });
});
