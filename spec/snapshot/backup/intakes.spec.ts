import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { TransferError } from '../../../lib/errors';
import { parseEntryName } from '../../../lib/name';
import { Intakes } from '../../../lib/snapshot/backup/intakes';
import { Allowance } from '../../../lib/store/limited';
import type { Intake } from '../../../lib/receive/intake';

describe('the snapshots on their way into a receiver', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(path.join(tmpdir(), 'sendall-intakes-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  const take = (intakes: Intakes, session: string, peer = 'peer'): Promise<Intake> =>
    intakes.take({
      name: parseEntryName('laptop'),
      repairs: false,
      checksum: false,
      algorithm: 'md5',
      home: { directory, allowance: new Allowance({}) },
      peer,
      mayCompare: true,
      session,
    });

  it('are not ended by another key while they wait for their session to come back', async () => {
    const intakes = new Intakes(() => undefined);
    const first = await take(intakes, 'one');
    await first.leave();
    const refused: unknown = await take(intakes, 'other', 'another').catch((error: unknown) => error);
    expect(refused).to.be.instanceOf(TransferError).with.property('code', 'exists');
    expect(await take(intakes, 'one'), 'the session is back').to.equal(first);
    await first.leave();
    await intakes.close();
  });

  it('are let in one after another, though many come at the same moment, and are all unlocked in the end (the faults of fuzz)', async () => {
    const intakes = new Intakes(() => undefined);
    const sessions = Array.from({ length: 6 }, (_, at) => take(intakes, String(at)).then((intake) => intake.leave()));
    expect((await Promise.allSettled(sessions)).map(({ status }) => status)).to.deep.equal(
      sessions.map(() => 'fulfilled'),
    );
    await intakes.close();
    const next = new Intakes(() => undefined);
    await (await take(next, 'after')).leave();
    await next.close();
  });

  it('are unlocked by the end of the receiver, also those that were being let in meanwhile (the faults of fuzz)', async () => {
    const intakes = new Intakes(() => undefined);
    const takings = ['one', 'two', 'three'].map((session) => take(intakes, session).then((intake) => intake.leave()));
    await intakes.close();
    await Promise.allSettled(takings);
    expect(await take(intakes, 'late').catch((error: unknown) => error)).to.have.property('code', 'interrupted');
    const next = new Intakes(() => undefined);
    await (await take(next, 'after')).leave();
    await next.close();
  });
});
