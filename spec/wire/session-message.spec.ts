import { expect } from 'chai';
import fc from 'fast-check';
import { TransferError } from '../../lib/errors';
import { encodeFrame, HeaderDecoder, type JsonObject } from '../../lib/wire/frame';
import { pieceSize } from '../../lib/wire/segment';
import { type FromReceiver, type FromSender, parseFromReceiver, parseFromSender } from '../../lib/wire/session-message';
import { parseHello, sessionVersion } from '../../lib/wire/hello';

const session = '00112233445566778899aabbccddeeff';
const hello = {
  type: 'hello',
  version: sessionVersion,
  role: 'sender',
  session,
  connection: 0,
  digest: 'blake3',
} as const;
const digests = { blake3: 'ab'.repeat(32) };

const count = fc.oneof(fc.nat({ max: 0xffffffff }), fc.constantFrom(0, 0xffffffff));
const size = fc.oneof(fc.maxSafeNat(), fc.constantFrom(0, Number.MAX_SAFE_INTEGER));
const text = fc.string({ unit: 'grapheme', maxLength: 60 });
const list = fc.nat({ max: 8 * 1024 * 1024 });

const fromSender: fc.Arbitrary<FromSender> = fc.oneof(
  fc.constant(hello),
  fc.constant({ type: 'heartbeat' } as const),
  fc.constant({ type: 'end' } as const),
  fc.record({ type: fc.constant('offer' as const), list }),
  fc.record({
    type: fc.constant('segment' as const),
    file: count,
    offset: fc.nat({ max: 2 ** 30 }).map((piece) => piece * pieceSize),
    size: fc.integer({ min: 1, max: pieceSize }),
    zero: fc.boolean(),
  }),
  fc.record({ type: fc.constant('bundle' as const), list, size: fc.nat({ max: 512 * 1024 }) }),
  fc.record({
    type: fc.constant('keep' as const),
    file: count,
    first: fc.nat({ max: 65535 }),
    count: fc.integer({ min: 1, max: 65536 }),
  }),
  fc.record({
    type: fc.constant('copy' as const),
    file: count,
    offset: fc.nat({ max: 2 ** 30 }).map((piece) => piece * pieceSize),
    size: fc.integer({ min: 1, max: 2 ** 40 }),
    from: fc.nat({ max: 2 ** 31 - 1 }),
  }),
  fc.record({ type: fc.constant('close' as const), file: count, size, digests: fc.constant(digests) }),
  fc.record({
    type: fc.constant('drop' as const),
    file: count,
    code: fc.constantFrom('source-changed' as const, 'mismatch' as const),
    message: fc.string(),
  }),
  fc.record({ type: fc.constant('text' as const), file: count, text }),
  fc.record({ type: fc.constant('connect' as const), connection: fc.integer({ min: 1, max: 0xffffffff }) }),
);

const fromReceiver: fc.Arbitrary<FromReceiver> = fc.oneof(
  fc.constant({ ...hello, role: 'receiver' } as const),
  fc.constant({ type: 'heartbeat' } as const),
  fc.record({
    type: fc.constantFrom('answer' as const, 'held' as const, 'standing' as const, 'receipts' as const),
    list,
  }),
  fc.record(
    {
      type: fc.constant('refusal' as const),
      code: fc.constantFrom('exists' as const, 'space' as const),
      message: text,
      file: count,
      hint: text,
    },
    { requiredKeys: ['type', 'code', 'message'] },
  ),
  fc.record({ type: fc.constant('taken' as const), connection: count, frames: count }),
  fc.record({ type: fc.constant('progress' as const), file: count, done: size }),
  fc.record({ type: fc.constant('done' as const) }),
);

describe('messages of a session', () => {
  it('of a sender are read as they were sent, whatever else is in them', () => {
    const same = fc.property(fromSender, (message) => {
      expect(parseFromSender(travelled({ ...message, unknown: [1] }))).to.deep.equal(message);
    });
    fc.assert(same, { numRuns: 500 });
  });

  it('of a receiver are read as they were sent, whatever else is in them', () => {
    const same = fc.property(fromReceiver, (message) => {
      expect(parseFromReceiver(travelled({ ...message, unknown: [1] }))).to.deep.equal(message);
    });
    fc.assert(same, { numRuns: 500 });
  });

  it('are refused with bad-header or taken, whatever is in them: nothing else is thrown', () => {
    const types = fc.oneof(
      fc.constantFrom(
        'hello',
        'heartbeat',
        'end',
        'offer',
        'segment',
        'bundle',
        'keep',
        'close',
        'drop',
        'text',
        'connect',
        'answer',
        'held',
        'receipts',
        'refusal',
        'taken',
        'progress',
        'done',
      ),
      fc.anything(),
    );
    const keys = [
      'list',
      'file',
      'offset',
      'size',
      'zero',
      'first',
      'count',
      'digests',
      'text',
      'connection',
      'frames',
      'done',
      'waited',
      'code',
      'message',
      'version',
      'role',
      'session',
      'digest',
    ];
    const header = fc
      .tuple(types, fc.dictionary(fc.constantFrom(...keys), fc.oneof(fc.jsonValue(), count, size, fc.constant(-0))))
      .map(([type, rest]): JsonObject => ({ ...rest, type }));
    const safe = fc.property(header, (hostile) => {
      for (const parse of [parseFromSender, parseFromReceiver]) {
        try {
          parse(hostile);
        } catch (error) {
          expect(error).to.be.instanceOf(TransferError).with.property('code', 'bad-header');
          expect((error as Error).message).to.match(/^[^\p{Cc}]{1,300}$/u);
        }
      }
    });
    fc.assert(safe, { numRuns: 2000 });
  });

  it('never take what a header inherits', () => {
    for (const parse of [parseFromSender, parseFromReceiver, parseHello]) {
      expect(() => parse(Object.create(hello) as JsonObject))
        .to.throw(TransferError, 'The header lacks type')
        .with.property('code', 'bad-header');
    }
  });

  it('say which key is wrong, what it is and what it must be', () => {
    expect(() => parseFromSender({ type: 'segment', file: 1, offset: 4096, size: 1 })).to.throw(
      'offset is 4096; it must be a multiple of 1048576.',
    );
    expect(() => parseFromSender({ type: 'segment', file: 1, offset: 0, size: 0 })).to.throw(
      'size is 0; it must be at least 1.',
    );
    expect(() => parseFromSender({ type: 'connect', connection: 0 })).to.throw(
      'connection is 0; it must be at least 1.',
    );
    expect(() => parseFromReceiver({ type: 'end' })).to.throw('type is "end"; it must be a message of a receiver.');
  });

  it('of more bytes than a piece has are refused, so that nobody has to throw away an endless payload', () => {
    for (const bytes of [pieceSize + 1, 2 ** 40, Number.MAX_SAFE_INTEGER]) {
      const segment = { type: 'segment', file: 1, offset: 0, size: bytes };
      expect(() => parseFromSender(segment))
        .to.throw(TransferError)
        .with.property('code', 'bad-header');
      expect(parseFromSender({ ...segment, zero: true })).to.include({ size: bytes });
    }
  });
});

describe('parseHello', () => {
  it('takes nothing but a hello', () => {
    expect(parseHello(hello)).to.deep.equal(hello);
    expect(() => parseHello({ ...hello, type: 'heartbeat' })).to.throw('type is "heartbeat"; it must be "hello".');
  });

  it('takes a version that is not spoken here: to say so is for the conversation', () => {
    expect(parseHello({ ...hello, version: 2 })).to.include({ version: 2 });
  });
});

/** As a frame, and back. */
function travelled(header: object): JsonObject {
  const decoder = new HeaderDecoder();
  decoder.push(encodeFrame(header));
  return decoder.header ?? {};
}
