import { execFileSync } from 'node:child_process';
import { mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import tls from 'node:tls';
import { expect } from 'chai';
import type { ErrorCode } from '../../lib/errors';
import { beginsTls } from '../../lib/net/tls';
import { encodeFrame, type JsonObject } from '../../lib/wire/frame';
import { exchange, fileFrame, md5, RawSender } from '../send/raw-sender';
import { contentOf, ReceiveDirectory, temporaryDirectory } from './receive-directory';

/** fixtures/vectors/README.md says what the keys mean. */
type Piece =
  | { readonly int32le: number }
  | { readonly int32be: number }
  | { readonly hex: string }
  | { readonly text: string }
  | { readonly repeat: string; readonly times: number };

interface FrameVector {
  readonly name: string;
  readonly bytes: readonly Piece[];
  readonly headers?: readonly { readonly file_name: string; readonly file_size: number }[];
  readonly refusal?: { readonly code: ErrorCode };
}

const vectorFile = (name: string): unknown =>
  JSON.parse(readFileSync(path.join(__dirname, '..', '..', 'fixtures', 'vectors', name), 'utf8'));
const badFrames = (vectorFile('frames.json') as { vectors: FrameVector[] }).vectors.filter(
  ({ refusal }) => refusal !== undefined,
);

describe('receiving over the plain wire', () => {
  let directory: ReceiveDirectory;
  const maxSize = 2 ** 40;
  let next = 0;
  const freshName = (): string => `good-${String(++next)}.txt`;

  before(async () => {
    directory = await ReceiveDirectory.open({ maxSize });
  });
  after(() => directory.close());
  afterEach(async () => {
    for (const name of await readdir(directory.place))
      if (/^good-|^a(?:\.txt)?$/.test(name)) await rm(path.join(directory.place, name));
  });

  /** The failures that were reported meanwhile; the directory must be as before, but for `kept`. */
  async function leavesNothing(
    misbehave: () => Promise<void>,
    kept: readonly string[] = [],
  ): Promise<(string | undefined)[]> {
    const { heard } = directory;
    const before = await directory.content();
    const failedBefore = heard.all('failed').length;
    await misbehave();
    const now = await directory.content();
    for (const name of kept) {
      expect(now, `${name} is kept`).to.have.property(name);
      delete now[name];
    }
    expect(now).to.deep.equal(before);
    return heard
      .all('failed')
      .slice(failedBefore)
      .map(({ code }) => code);
  }

  async function takesAnother(): Promise<void> {
    const name = freshName();
    const [receipt] = await exchange(directory.port, fileFrame(name, `content of ${name}`));
    expect(receipt).to.include({ type: 'receipt', file_name: name });
    expect((await directory.read(name)).toString()).to.equal(`content of ${name}`);
  }

  it('many files in one write: one reply for each, in their order, with those that are refused among them', async () => {
    const kinds = ['good', 'bad name', 'good', 'other md5', 'twice', 'good', 'large', 'good'] as const;
    const before = directory.heard.all('failed').length;
    const [frames, expected]: [Buffer[], string[]] = [[], []];
    let last = '';
    for (let at = 0; at < 800; at++) {
      const kind = kinds[at % kinds.length] ?? 'good';
      const name = kind === 'twice' ? last : kind === 'bad name' ? `../${String(at)}` : `good-many-${String(at)}`;
      const content = kind === 'large' ? Buffer.alloc(70_000, at) : `content of ${String(at)}`;
      const more = kind === 'other md5' ? { md5: md5('other'), reply: true } : { reply: true };
      frames.push(fileFrame(name, content, more));
      const code = { 'bad name': 'name', twice: 'name', 'other md5': 'mismatch' }[kind as string];
      expected.push(`${name} ${code ?? 'receipt'}`);
      if (kind === 'good') last = name;
    }
    const replies = await exchange(directory.port, Buffer.concat(frames));
    const said = replies.map(({ type, file_name, code }) => `${String(file_name)} ${String(code ?? type)}`);
    expect(said).to.deep.equal(expected);
    for (const at of [0, 2, 798])
      expect((await directory.read(`good-many-${String(at)}`)).length, String(at)).to.be.greaterThan(0);
    expect((await directory.read('good-many-797')).toString()).to.equal('content of 797');
    expect(directory.heard.all('failed')).to.have.length(before + 300);
  });

  describe('bytes that are not a file (frames.json): reported, nothing stored, others served', () => {
    for (const { name, bytes, headers = [], refusal } of badFrames) {
      const wire = Buffer.concat(bytes.map(bytesOf));
      const code = (headers.at(-1)?.file_size ?? 0) > maxSize ? 'size' : (refusal?.code ?? 'unexpected');
      const kept = headers
        .filter((_, at) => !['connection-lost', 'size'].includes(code) || at < headers.length - 1)
        .map(({ file_name }) => file_name);

      it(`${name}: ${code}, and told to whom asked for replies`, async () => {
        const good = freshName();
        const first = headers.length === 0 ? fileFrame(good, 'good') : Buffer.alloc(0);
        let replies: JsonObject[] = [];
        const failed = await leavesNothing(
          async () => {
            replies = await exchange(directory.port, first, wire);
          },
          headers.length === 0 ? [good] : kept,
        );
        // A connection that begins with TLS is a session, and these hellos are cut off: who hangs up in the handshake
        // is no failure that anybody is told of. After a frame, TLS is no frame.
        expect(failed).to.deep.equal(first.length === 0 && beginsTls(wire) ? [] : [code]);
        if (headers.length === 0) {
          expect(replies.map(({ type }) => type)).to.deep.equal(['receipt', 'refusal']);
          expect(replies[1]).to.have.property('code', code);
          expect(
            await leavesNothing(async () => void expect(await exchange(directory.port, wire)).to.deep.equal([])),
          ).to.deep.equal(beginsTls(wire) ? [] : [code]);
        }
        await takesAnother();
      });
    }

    it('a bad header that asks for a reply itself gets one', async () => {
      const failed = await leavesNothing(async () => {
        const [reply, ...more] = await exchange(
          directory.port,
          encodeFrame({ file_name: 'a', file_size: '5', md5: md5('hello'), reply: true }),
          Buffer.from('hello'),
        );
        expect(reply).to.include({ type: 'refusal', code: 'bad-header' });
        expect(reply?.['message']).to.match(/file_size/);
        expect(more).to.deep.equal([]);
      });
      expect(failed).to.deep.equal(['bad-header']);
    });

    it('one byte too many: the file before it is stored, what follows is not', async () => {
      const name = freshName();
      const failed = await leavesNothing(async () => {
        const replies = await exchange(
          directory.port,
          fileFrame(name, 'hello'),
          Buffer.from('!'),
          fileFrame('never.txt', 'never'),
        );
        expect(replies.map(({ type, code }) => code ?? type)).to.deep.equal(['receipt', 'bad-frame']);
      }, [name]);
      expect(failed).to.deep.equal(['bad-frame']);
    });

    it('a real TLS client that lacks the key is told apart from noise', async () => {
      const failed = await leavesNothing(async () => {
        await new Promise<void>((resolve) => {
          tls
            .connect({ port: directory.port, host: '127.0.0.1' })
            .on('error', () => undefined)
            .on('close', () => resolve());
        });
      });
      expect(failed).to.deep.equal(['not-authorized']);
      expect(directory.heard.all('failed').at(-1)?.message).to.match(/did not show a key/);
      await takesAnother();
    });

    it('a real HTTP client gets an error, and the log says what it was', async () => {
      const failed = await leavesNothing(async () => {
        await new Promise<void>((resolve) => {
          http.get({ port: directory.port, host: '127.0.0.1', agent: false }).on('error', () => resolve());
        });
        await directory.heard.first('failed', ({ message }) => /HTTP/.test(message) && message.length > 0);
      });
      expect(failed).to.deep.equal(['bad-frame']);
      await takesAnother();
    });

    it('a header in single bytes, and three files in one write, are as good as any', async () => {
      const name = freshName();
      const sender = await RawSender.dial(directory.port);
      for (const byte of fileFrame(name, 'dribbled')) await sender.send(Uint8Array.of(byte));
      expect(await sender.frame()).to.include({ type: 'receipt', file_name: name });
      const three = [freshName(), freshName(), freshName()];
      await sender.send(...three.map((each) => fileFrame(each, each)));
      sender.finish();
      expect((await sender.framesToTheEnd()).map(({ file_name }) => file_name)).to.deep.equal(three);
    });
  });

  describe('a good header whose file is not taken: refused, nothing left, and the next file on the same connection is taken', () => {
    const big = 'x'.repeat(3 * 1024 * 1024);
    const cases: readonly {
      readonly title: string;
      readonly code: ErrorCode;
      readonly frame: () => Buffer;
      readonly prepare?: (place: string) => Promise<void>;
    }[] = [
      {
        title: 'a wrong md5',
        code: 'mismatch',
        frame: () => fileFrame('wrong.txt', 'hello', { md5: md5('other'), reply: true }),
      },
      {
        title: 'a wrong md5 of a large file',
        code: 'mismatch',
        frame: () => fileFrame('wrong.bin', big, { md5: md5('other'), reply: true }),
      },
      {
        title: 'a wrong md5 in directories that do not exist yet',
        code: 'mismatch',
        frame: () => fileFrame('new/and/deep/wrong.txt', 'hello', { md5: md5('other'), reply: true }),
      },
      {
        title: 'a wrong md5 of an empty file',
        code: 'mismatch',
        frame: () => fileFrame('wrong-empty.txt', '', { md5: md5('other'), reply: true }),
      },
      {
        title: 'other content under that name',
        code: 'exists',
        frame: () => fileFrame('stands.txt', 'new'),
        prepare: (place) => writeFile(path.join(place, 'stands.txt'), 'old'),
      },
      {
        title: 'other content of the same size',
        code: 'exists',
        frame: () => fileFrame('same-size.txt', 'new'),
        prepare: (place) => writeFile(path.join(place, 'same-size.txt'), 'old'),
      },
      {
        title: 'other content of a large size',
        code: 'exists',
        frame: () => fileFrame('stands.bin', big),
        prepare: (place) => writeFile(path.join(place, 'stands.bin'), 'old'),
      },
      {
        title: 'a directory under that name',
        code: 'exists',
        frame: () => fileFrame('a-directory', 'new'),
        prepare: async (place) => void (await mkdir(path.join(place, 'a-directory'))),
      },
      {
        title: 'a FIFO under that name',
        code: 'exists',
        frame: () => fileFrame('fifo', 'new'),
        prepare: async (place) => void execFileSync('mkfifo', [path.join(place, 'fifo')]),
      },
      {
        title: 'a symbolic link under that name',
        code: 'exists',
        frame: () => fileFrame('link', 'new'),
        prepare: (place) => symlink('/etc/hostname', path.join(place, 'link')),
      },
      {
        title: 'a dangling symbolic link under that name',
        code: 'exists',
        frame: () => fileFrame('dangling', 'new'),
        prepare: (place) => symlink('not-there', path.join(place, 'dangling')),
      },
      {
        title: 'a file where a directory is needed',
        code: 'exists',
        frame: () => fileFrame('file/below.txt', 'new'),
        prepare: (place) => writeFile(path.join(place, 'file'), 'old'),
      },
    ];
    for (const { title, code, frame, prepare } of cases) {
      for (const reply of [true, false]) {
        it(`${title}: ${code}${reply ? '' : ', and not a byte of answer unless asked'}`, async () => {
          if (reply) await prepare?.(directory.place);
          const good = freshName();
          const bytes = reply ? frame() : silent(frame());
          const failed = await leavesNothing(async () => {
            const replies = await exchange(
              directory.port,
              bytes,
              fileFrame(good, 'good', reply ? { reply: true } : {}),
            );
            expect(replies.map(({ type, code: said }) => said ?? type)).to.deep.equal(reply ? [code, 'receipt'] : []);
          }, [good]);
          expect(failed).to.deep.equal([code]);
          await takesAnother();
        });
      }
    }

    it('a symbolic link to a directory elsewhere is not followed', async () => {
      const elsewhere = await temporaryDirectory();
      await symlink(elsewhere, path.join(directory.place, 'elsewhere'));
      const failed = await leavesNothing(async () => {
        const replies = await exchange(
          directory.port,
          fileFrame('elsewhere/a.txt', 'outside'),
          fileFrame('elsewhere/new/a.txt', 'outside'),
        );
        expect(replies.map(({ code }) => code)).to.deep.equal(['exists', 'exists']);
      });
      expect(failed).to.deep.equal(['exists', 'exists']);
      expect(await contentOf(elsewhere)).to.deep.equal({});
      await rm(elsewhere, { recursive: true });
    });

    it('the same content again is success, and the file that stands there is not touched', async () => {
      await exchange(directory.port, fileFrame('twice.txt', 'twice'));
      expect(
        await leavesNothing(async () => {
          expect((await exchange(directory.port, fileFrame('twice.txt', 'twice')))[0]).to.include({
            type: 'receipt',
            path: 'twice.txt',
          });
        }),
      ).to.deep.equal([]);
    });
  });

  describe('room', () => {
    it('a file above the size cap: `size`, its payload is passed over, and the next file is taken', async () => {
      const small = await ReceiveDirectory.open({ maxSize: 10 });
      try {
        const replies = await exchange(
          small.port,
          fileFrame('eleven', 'x'.repeat(11)),
          fileFrame('large', 'x'.repeat(2_000_000)),
          fileFrame('ten', 'x'.repeat(10)),
        );
        expect(replies.map(({ type, code }) => code ?? type)).to.deep.equal(['size', 'size', 'receipt']);
        expect(Object.keys(await small.content()).filter((name) => !name.startsWith('.sendall'))).to.deep.equal([
          'ten',
        ]);
      } finally {
        await small.close();
      }
    });

    it('files above the quota: `quota`, counted over all connections, and what still fits is taken', async () => {
      const small = await ReceiveDirectory.open({ quota: 10 });
      try {
        const first = await exchange(small.port, fileFrame('six', '123456'), fileFrame('five', '12345'));
        const second = await exchange(
          small.port,
          fileFrame('again-five', '12345'),
          fileFrame('four', '1234'),
          fileFrame('one', '1'),
        );
        expect([...first, ...second].map(({ type, code }) => code ?? type)).to.deep.equal([
          'receipt',
          'quota',
          'quota',
          'receipt',
          'quota',
        ]);
      } finally {
        await small.close();
      }
    });

    it('more than the disk has free: `space`, once, although the sender then leaves in the middle', async () => {
      const failed = await leavesNothing(async () => {
        const sender = await RawSender.dial(directory.port);
        await sender.send(
          encodeFrame({ file_name: 'huge', file_size: 2 ** 40, md5: md5(''), reply: true }),
          Buffer.alloc(1000),
        );
        expect(await sender.frame()).to.include({ type: 'refusal', code: 'space', file_name: 'huge' });
        sender.finish();
        expect(await sender.framesToTheEnd(), 'no second answer for the same file').to.deep.equal([]);
      });
      expect(failed).to.deep.equal(['space']);
      await takesAnother();
    });

    it('a sender that resets the connection in a refused payload is not a second failure', async () => {
      const failed = await leavesNothing(async () => {
        const sender = await RawSender.dial(directory.port);
        await sender.send(
          encodeFrame({ file_name: 'huge', file_size: 2 ** 50, md5: md5(''), reply: true }),
          Buffer.alloc(1000),
        );
        expect(await sender.frame()).to.include({ type: 'refusal', code: 'size' });
        const ends = directory.heard.all('summary').length;
        sender.socket.resetAndDestroy();
        while (directory.heard.all('summary').length === ends) await new Promise((resolve) => setTimeout(resolve, 5));
      });
      expect(failed).to.deep.equal(['size']);
    });
  });

  it('a body cut short by a reset: connection-lost, nothing left, others served', async () => {
    const failed = await leavesNothing(async () => {
      const sender = await RawSender.dial(directory.port);
      await sender.send(
        encodeFrame({ file_name: 'cut/deep.bin', file_size: 5_000_000, md5: md5(''), reply: true }),
        Buffer.alloc(2_000_000),
      );
      await directory.heard.first('started', ({ file_name }) => file_name === 'cut/deep.bin');
      sender.socket.resetAndDestroy();
      await directory.heard.first('failed', ({ file_name }) => file_name === 'cut/deep.bin');
    });
    expect(failed).to.deep.equal(['connection-lost']);
    await takesAnother();
  });

  it('files before a cut one stand, and are answered', async () => {
    const [one, two] = [freshName(), freshName()];
    const failed = await leavesNothing(async () => {
      const replies = await exchange(
        directory.port,
        fileFrame(one, one),
        fileFrame(two, two),
        fileFrame('cut.txt', 'whole').subarray(0, -1),
      );
      expect(replies.map(({ type, code }) => code ?? type)).to.deep.equal(['receipt', 'receipt', 'connection-lost']);
      expect(replies[2]).to.have.property('file_name', 'cut.txt');
    }, [one, two]);
    expect(failed).to.deep.equal(['connection-lost']);
  });

  it('a sender that never reads and asks for nothing: all of its files are stored', async () => {
    const many = Array.from({ length: 300 }, (_, at) => `unread/${String(at)}`);
    const sender = await RawSender.dial(directory.port);
    sender.socket.pause();
    await sender.send(...many.map((name) => fileFrame(name, name, {})));
    sender.finish();
    for (const name of many) await directory.heard.first('received', ({ file_name }) => file_name === name);
    for (const name of many) expect((await readFile(path.join(directory.place, name))).toString()).to.equal(name);
    sender.socket.resume();
    await sender.closed;
    await rm(path.join(directory.place, 'unread'), { recursive: true });
  });
});

/** The same frame without a wish for replies. */
function silent(frame: Buffer): Buffer {
  const length = frame.readInt32LE(0);
  const { reply: _reply, ...header } = JSON.parse(frame.subarray(4, 4 + length).toString()) as Record<string, unknown>;
  return Buffer.concat([encodeFrame(header), frame.subarray(4 + length)]);
}

function bytesOf(piece: Piece): Buffer {
  if ('text' in piece) return Buffer.from(piece.text, 'utf8');
  if ('hex' in piece) return Buffer.from(piece.hex.replaceAll(' ', ''), 'hex');
  if ('repeat' in piece) return Buffer.from(piece.repeat.repeat(piece.times), 'utf8');
  const prefix = Buffer.alloc(4);
  if ('int32le' in piece) prefix.writeInt32LE(piece.int32le);
  else prefix.writeInt32BE(piece.int32be);
  return prefix;
}
