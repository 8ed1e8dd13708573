import { expect } from 'chai';
import { TransferError } from '../../lib/errors';
import { commonCoding, decodeContent, encodeContent, ownCodings } from '../../lib/session/content-coding';
import { codeOf } from '../store/delivery';
import { MiB, noise } from './pair';

describe('coded contents', () => {
  for (const coding of ownCodings) {
    it(`are what they were: ${coding}`, async () => {
      for (const content of [Buffer.from('a'), Buffer.alloc(MiB, 'abc'), noise(MiB), noise(100_001)]) {
        const coded = await encodeContent(coding, content);
        expect(Buffer.compare(await decodeContent(coding, coded, content.length), content)).to.equal(0);
      }
      expect((await encodeContent(coding, Buffer.alloc(MiB, 'abc'))).length).to.be.below(MiB / 10);
    });

    it(`are refused where they are longer, shorter, cut or no such thing: ${coding}`, async () => {
      const content = Buffer.alloc(100_000, 'abc');
      const coded = await encodeContent(coding, content);
      for (const [bytes, size] of [
        [coded, content.length - 1],
        [coded, content.length + 1],
        [coded.subarray(0, coded.length - 1), content.length],
        [noise(1000), 100_000],
        [new Uint8Array(1), 1],
      ] as const) {
        const refused: unknown = await decodeContent(coding, bytes, size).catch((error: unknown) => error);
        expect(refused).to.be.instanceOf(TransferError).with.property('code', 'bad-frame');
      }
    });
  }

  it('are not decoded beyond the size that was announced: a bomb costs no memory', async () => {
    const bomb = await encodeContent('br', Buffer.alloc(256 * MiB));
    expect(bomb.length).to.be.below(MiB / 10);
    const before = process.memoryUsage.rss();
    expect(await codeOf(decodeContent('br', bomb, MiB))).to.equal('bad-frame');
    expect(process.memoryUsage.rss() - before).to.be.below(64 * MiB);
  });

  it('are in the best coding that both sides have', () => {
    expect(commonCoding(undefined)).to.equal(undefined);
    expect(commonCoding([])).to.equal(undefined);
    expect(commonCoding(['br'])).to.equal('br');
    expect(commonCoding(['br', 'zstd'])).to.equal(ownCodings[0]);
  });
});
