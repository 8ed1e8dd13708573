import { expect } from 'chai';
import { conversations, encodePart, found, vectorBytes } from '../../faults/fuzz/corpus';
import { sayPlain, saySession } from '../../faults/fuzz/peers';
import { ReceiveDirectory } from '../receive/receive-directory';

describe('the corpus of the fuzzer', () => {
  let to: ReceiveDirectory;
  before(async () => {
    to = await ReceiveDirectory.open({ ifExists: 'replace' });
  });
  after(() => to.close());

  for (const { name, wire, by, parts } of conversations()) {
    if (by === 'receiver') continue;
    it(`${wire}, ${name}: does no harm unchanged`, async () => {
      expect(
        wire === 'plain'
          ? await sayPlain(to.port, Buffer.concat(parts.map(encodePart)))
          : await saySession(to.ticket, parts),
      ).to.equal(undefined);
    });
  }

  for (const { name, wire, bytes } of found()) {
    it(`${wire}, found once: ${name}`, async () => {
      expect(wire === 'plain' ? await sayPlain(to.port, bytes) : await saySession(to.ticket, [{ bytes }])).to.equal(
        undefined,
      );
    });
  }

  it('has inputs for all that reads', () => {
    for (const [kind, inputs] of Object.entries(vectorBytes())) expect(inputs, kind).to.have.length.greaterThan(5);
  });
});
