import { blake3 } from '@napi-rs/blake-hash';
import { expect } from 'chai';
import { digestOf, MiB, noise, Pair, succeeded } from './pair';

describe('a file in a session', () => {
  let pair: Pair;
  afterEach(() => pair.close());

  for (const size of [0, 1, 65536, 65537, MiB, MiB + 1, 5 * MiB + 12345]) {
    it(`of ${String(size)} bytes arrives whole, read back, with its receipt`, async () => {
      const content = noise(size);
      pair = await Pair.make({ f: content });
      const { files, summary } = succeeded(await pair.send(['f'], { digest: 'sha256' }));
      expect(await pair.to.read('f')).to.deep.equal(content);
      expect(files).to.have.lengthOf(1);
      expect(files[0]).to.include({ file_name: 'f', file_size: size, path: 'f' });
      expect(files[0]?.verified).to.be.oneOf(['device', 'cache']);
      expect(files[0]?.digests).to.deep.equal({ sha256: digestOf(content) });
      expect(files[0]?.bytes_on_wire).to.be.within(size, size + 1000);
      expect(summary).to.include({ files: 1, bytes: size });
      const [received] = pair.to.heard.all('received');
      expect(received).to.include({ file_name: 'f', file_size: size, path: 'f' });
      expect(received?.digests).to.deep.equal({ sha256: digestOf(content) });
    });
  }

  for (const digest of ['blake3', 'sha256', 'md5'] as const) {
    it(`has the ${digest} of its bytes in its receipt, small or large`, async () => {
      const contents = { large: noise(2 * MiB + 3, 7), small: noise(1000, 8) };
      pair = await Pair.make(contents);
      const { files } = succeeded(await pair.send(['large', 'small'], { digest }));
      expect(files).to.have.lengthOf(2);
      for (const { file_name: name, digests } of files) {
        const content = contents[name as keyof typeof contents];
        expect(digests).to.deep.equal({
          [digest]: digest === 'blake3' ? blake3(content).toString('hex') : digestOf(content, digest),
        });
      }
    });
  }
});
