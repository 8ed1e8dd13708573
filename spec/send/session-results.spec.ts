import { expect } from 'chai';
import type { TransferEvent } from '../../lib/progress';
import type { SentEntry } from '../../lib/send/entries';
import { SessionResults } from '../../lib/send/session-results';
import { TransferError } from '../../lib/errors';

describe('results of a session', () => {
  let events: TransferEvent[];
  const connector = { session: undefined as string | undefined, relay: undefined };
  beforeEach(() => {
    events = [];
    connector.session = undefined;
  });
  const began = (): SessionResults => new SessionResults((event) => void events.push(event), connector);
  const sent = (name: string, more: Partial<SentEntry> = {}): SentEntry => ({
    type: 'file',
    name,
    size: 5,
    began: performance.now(),
    bytesOnWire: 5,
    digest: 'ab',
    vouched: undefined,
    ...more,
  });
  const receipt = { file: 0, verified: 'device', digests: { blake3: 'ab' } } as const;

  it('tell of a stored file once, under the name that the receiver gave it, and count it', () => {
    const results = began();
    results.stored(sent('a', { kept: 2 }), { ...receipt, path: 'a 2', repaired: 1 });
    const [event] = events;
    expect(events).to.have.lengthOf(1);
    expect(event).to.deep.include({ event: 'sent', file_name: 'a', path: 'a 2', kept: 2, repaired: 1 });
    expect(results.files.map(({ path }) => path)).to.deep.equal(['a 2']);
    expect(results.tally.summary(1, null)).to.deep.include({ files: 1, bytes: 5, bytes_on_wire: 5 });
  });

  it('count no directory as a file, and still tell what its disk did not keep', () => {
    const results = began();
    results.stored(sent('d', { type: 'directory' }), { file: 0, verified: null, lost: ['mode'] });
    expect([results.tally.files, events]).to.deep.equal([0, []]);
    results.conclude(false);
    expect(events.map(({ event }) => event)).to.deep.equal(['lost']);
    expect(results.failures, 'a mode that a disk does not have').to.deep.equal([]);
  });

  it('remember ten thousand files, and count all', () => {
    const results = began();
    for (let file = 0; file < 10_001; file++) results.stored(sent('a'), receipt);
    expect([results.files.length, results.tally.files, events.length]).to.deep.equal([10_000, 10_001, 10_001]);
  });

  it('take what the receiver left out by its rule for no failure, and every other refusal for one', () => {
    const results = began();
    results.refused(sent('a'), { type: 'refusal', code: 'exists', message: 'It exists.', file: 0, skipped: true });
    expect([results.failures.length, events[0]?.event]).to.deep.equal([0, 'skipped']);
    results.refused(sent('b'), { type: 'refusal', code: 'space', message: 'The disk is full.', file: 1 });
    expect(results.failures.map(({ code, fileName }) => [code, fileName])).to.deep.equal([['space', 'b']]);
    expect(events[1]).to.deep.include({ event: 'failed', code: 'space', file_name: 'b' });
  });

  it('count an alarm as a failure of its file', () => {
    const results = began();
    results.alarmed(sent('a'), 'It is other than it was.');
    expect(results.alarms).to.equal(1);
    expect(results.failures.map(({ code, fileName }) => [code, fileName])).to.deep.equal([['mismatch', 'a']]);
  });

  it('have one id from the beginning, and that of the session once there is one', () => {
    const results = began();
    results.failed(new TransferError('cannot-connect', 'Nobody is there.'));
    results.connectionBack();
    connector.session = 'f'.repeat(32);
    results.stored(sent('a'), receipt);
    const ids = events.map((event) => ('id' in event ? event.id : undefined));
    expect(ids[0]).to.match(/^[0-9a-f]+$/);
    expect(ids[1]).to.equal(ids[0]);
    expect(ids[2]).to.equal('f'.repeat(32));
  });
});
