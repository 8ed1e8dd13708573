import { expect } from 'chai';
import fc from 'fast-check';
import { TransferError } from '../../lib/errors';
import { encodeFrame, HeaderDecoder, maxHeaderLength, type JsonObject } from '../../lib/wire/frame';

describe('encodeFrame', () => {
  it("writes the length in little-endian, as Python's struct.pack('<i', n) does, then the JSON", () => {
    expect(encodeFrame({ a: 1 }).toString('hex')).to.equal(`07000000${Buffer.from('{"a":1}').toString('hex')}`);
  });

  it('counts bytes of UTF-8, not characters', () => {
    expect(encodeFrame({ a: 'ü🎉' }).readInt32LE(0)).to.equal(8 + 2 + 4);
  });

  it('takes a header of 65536 bytes and refuses one of 65537', () => {
    const fitting = 'x'.repeat(maxHeaderLength - '{"a":""}'.length);
    expect(encodeFrame({ a: fitting })).to.have.lengthOf(4 + maxHeaderLength);
    expect(failureOf(() => encodeFrame({ a: `${fitting}x` })).code).to.equal('usage');
  });

  it('is what HeaderDecoder reads: any object of JSON comes back equal', () => {
    const anyValue = fc.jsonValue().map((value) => JSON.parse(JSON.stringify(value)) as unknown); // -0 becomes 0
    fc.assert(
      fc.property(
        fc.dictionary(fc.string({ unit: 'binary' }), anyValue, { maxKeys: 20, noNullPrototype: true }),
        (object) => {
          const decoder = new HeaderDecoder();
          const frame = encodeFrame(object);
          expect(decoder.push(frame)).to.equal(frame.length);
          expect(decoder.header).to.deep.equal(object);
        },
      ),
    );
  });
});

describe('HeaderDecoder', () => {
  const frame = encodeFrame({ a: 1 });

  it('never takes a byte after the header, and none until reset', () => {
    const decoder = new HeaderDecoder();
    const bytes = Buffer.concat([frame, Buffer.from('payload')]);
    expect(decoder.push(bytes)).to.equal(frame.length);
    expect(decoder.push(Buffer.from('payload'))).to.equal(0);
    expect(decoder.header).to.deep.equal({ a: 1 });
    decoder.reset();
    expect(decoder.header).to.equal(undefined);
    expect(decoder.push(bytes)).to.equal(frame.length);
  });

  it('reads one header after another, each in single bytes', () => {
    const decoder = new HeaderDecoder();
    const headers: (JsonObject | undefined)[] = [];
    for (const byte of Buffer.concat([frame, encodeFrame({}), encodeFrame({ ü: [null] })])) {
      expect(decoder.push(Uint8Array.of(byte))).to.equal(1);
      if (decoder.header === undefined) continue;
      headers.push(decoder.header);
      decoder.reset();
    }
    expect(headers).to.deep.equal([{ a: 1 }, {}, { ü: [null] }]);
  });

  it('keeps nothing of the memory that it was given', () => {
    const decoder = new HeaderDecoder();
    const memory = Buffer.from(frame);
    decoder.push(memory.subarray(0, 7));
    memory.fill(0xff, 0, 7);
    decoder.push(memory.subarray(7));
    expect(decoder.header).to.deep.equal({ a: 1 });
  });

  it('has started with the first byte of the length', () => {
    const decoder = new HeaderDecoder();
    expect(decoder.started).to.equal(false);
    decoder.push(new Uint8Array(0));
    expect(decoder.started).to.equal(false);
    decoder.push(frame.subarray(0, 1));
    expect(decoder.started).to.equal(true);
    decoder.push(frame.subarray(1));
    decoder.reset();
    expect(decoder.started).to.equal(false);
  });

  it('refuses a bad length with its 4th byte, without waiting for or allocating what it announces', () => {
    const decoder = new HeaderDecoder();
    decoder.push(Buffer.from([0xff, 0xff, 0xff]));
    expect(failureOf(() => decoder.push(Buffer.from([0x7f]))).code).to.equal('bad-frame');
  });

  it('stays refused: nobody knows where the next frame begins', () => {
    const decoder = new HeaderDecoder();
    const first = failureOf(() => decoder.push(Buffer.alloc(4)));
    expect(failureOf(() => decoder.push(frame))).to.equal(first);
    expect(failureOf(() => decoder.finish())).to.equal(first);
  });

  it('takes FIN between two frames, and nowhere else', () => {
    const decoder = new HeaderDecoder();
    decoder.finish();
    decoder.push(frame);
    decoder.finish();
    decoder.reset();
    decoder.finish();
    decoder.push(frame.subarray(0, 6));
    expect(failureOf(() => decoder.finish()).message).to.equal("The connection ended after 2 of a header's 7 bytes.");
  });

  it('makes of any bytes, split anywhere, a header or a bad-frame, and nothing else', () => {
    const lengths = fc.oneof(fc.integer({ min: -3, max: 80 }), fc.integer());
    const bodies = fc.oneof(
      fc.uint8Array({ maxLength: 80 }),
      fc.json().map((text) => Buffer.from(text)),
    );
    fc.assert(
      fc.property(lengths, bodies, fc.nat({ max: 90 }), (length, body, cut) => {
        const bytes = Buffer.concat([Buffer.alloc(4), body]);
        bytes.writeInt32LE(length);
        const outcome = (pieces: Buffer[]): unknown => {
          const decoder = new HeaderDecoder();
          try {
            for (const piece of pieces) decoder.push(piece);
            decoder.finish();
          } catch (error) {
            if (!(error instanceof TransferError)) throw error;
            expect(error.code).to.equal('bad-frame');
            return error.message;
          }
          expect(decoder.header).to.be.an('object');
          return decoder.header;
        };
        expect(outcome([bytes.subarray(0, cut), bytes.subarray(cut)])).to.deep.equal(outcome([bytes]));
      }),
      { numRuns: 1000 },
    );
  });
});

function failureOf(action: () => unknown): TransferError {
  try {
    action();
  } catch (error) {
    if (error instanceof TransferError) return error;
    throw error;
  }
  throw new Error('it did not fail');
}
