import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { TransferError } from '../../../lib/errors';
import { parseEntryName } from '../../../lib/name';
import { readRegister } from '../../../lib/snapshot/register/register';
import { SnapshotStages } from '../../../lib/snapshot/backup/snapshot-stages';
import { Allowance } from '../../../lib/store/limited';
import type { SnapshotStage, StageRequest } from '../../../lib/receive/snapshot-stage';

describe('the snapshots on their way into a receiver', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(path.join(tmpdir(), 'sendall-stages-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  const request = (name: string, session: string, peer: string): StageRequest => ({
    name: parseEntryName(name),
    repairs: false,
    checksum: false,
    algorithm: 'md5',
    destination: { directory, allowance: new Allowance({}) },
    peer,
    mayCompare: true,
    session,
  });
  const take = (stages: SnapshotStages, session: string, peer = 'peer', name = 'laptop'): Promise<SnapshotStage> =>
    stages.take(request(name, session, peer));

  it('are not ended by another key while they wait for their session to come back', async () => {
    const stages = new SnapshotStages(() => undefined);
    const first = await take(stages, 'one');
    first.stored({ type: 'directory', file: 0, name: parseEntryName('d'), mode: 0o755, mtime: 0n });
    await first.leave();
    const refused: unknown = await take(stages, 'other', 'another').catch((error: unknown) => error);
    expect(refused).to.be.instanceOf(TransferError).with.property('code', 'exists');
    expect(await take(stages, 'one'), 'the session is back').to.equal(first);
    await first.leave();
    await stages.close();
  });

  it('wait where something has come, so many of one key, and are given up at once where nothing has', async () => {
    const stages = new SnapshotStages(() => undefined);
    const begin = async (name: string, peer: string, comes: boolean): Promise<void> => {
      const stage = await take(stages, name, peer, name);
      if (comes) stage.stored({ type: 'directory', file: 0, name: parseEntryName('d'), mode: 0o755, mtime: 0n });
      await stage.leave();
    };
    const isHeld = async (name: string, peer = 'peer'): Promise<boolean> => {
      const refused: unknown = await new SnapshotStages(() => undefined)
        .take(request(name, 'again', peer))
        .then((stage) => stage.leave())
        .catch((error: unknown) => error);
      return refused instanceof TransferError && refused.code === 'directory';
    };
    await begin('empty', 'peer', false);
    for (let at = 0; at < 6; at++) await begin(`begun${String(at)}`, 'peer', true);
    await begin('other', 'another', true);
    const held = [];
    for (const name of ['empty', ...Array.from({ length: 6 }, (_, at) => `begun${String(at)}`)])
      held.push(await isHeld(name));
    expect(held).to.deep.equal([false, false, false, true, true, true, true]);
    expect(await isHeld('other', 'another')).to.equal(true);
    await stages.close();
  });

  it('are let in one after another, though many come at the same moment, and are all unlocked in the end (the faults of fuzz)', async () => {
    const stages = new SnapshotStages(() => undefined);
    const sessions = Array.from({ length: 6 }, (_, at) => take(stages, String(at)).then((stage) => stage.leave()));
    expect((await Promise.allSettled(sessions)).map(({ status }) => status)).to.deep.equal(
      sessions.map(() => 'fulfilled'),
    );
    await stages.close();
    const next = new SnapshotStages(() => undefined);
    await (await take(next, 'after')).leave();
    await next.close();
  });

  it('are unlocked by the end of the receiver, also those that were being let in meanwhile (the faults of fuzz)', async () => {
    const stages = new SnapshotStages(() => undefined);
    const takings = ['one', 'two', 'three'].map((session) => take(stages, session).then((stage) => stage.leave()));
    await stages.close();
    await Promise.allSettled(takings);
    expect(await take(stages, 'late').catch((error: unknown) => error)).to.have.property('code', 'interrupted');
    const next = new SnapshotStages(() => undefined);
    await (await take(next, 'after')).leave();
    await next.close();
  });

  it('are not closed a second time under the session that took them over, and what that one made stays registered', async () => {
    const stages = new SnapshotStages(() => undefined, 250);
    const first = await take(stages, 'one');
    void first.superseded.then(() => first.leave());
    const second = await take(stages, 'two');
    second.stored({ type: 'directory', file: 0, name: parseEntryName('d'), mode: 0o755, mtime: 0n });
    await second.commit(1);
    await second.leave();
    const third = await take(stages, 'three');
    await sleep(400);
    const made = (await readRegister(directory, parseEntryName('laptop')))?.snapshots.length;
    expect(made, 'what was made is still known').to.equal(1);
    const refused: unknown = await take(stages, 'other', 'another').catch((error: unknown) => error);
    expect(refused, 'it is still under way').to.have.property('code', 'exists');
    await third.leave();
    await stages.close();
    const next = new SnapshotStages(() => undefined);
    await (await take(next, 'after')).leave();
    await next.close();
  });

  it('are in use for as long as one conversation uses them, where one comes back before the other has ended', async () => {
    const stages = new SnapshotStages(() => undefined, 1);
    const first = await take(stages, 'one');
    const superseded = first.superseded;
    expect(await take(stages, 'one'), 'it is the same').to.equal(first);
    expect(await superseded, 'the conversation before is ended').to.have.property('code', 'connection-lost');
    await first.leave();
    await sleep(50);
    first.stored({ type: 'directory', file: 0, name: parseEntryName('d'), mode: 0o755, mtime: 0n });
    expect(await first.commit(1), 'it was not closed under the other one').to.have.property('entries', 1);
    await first.leave();
    await stages.close();
    const next = new SnapshotStages(() => undefined);
    await (await take(next, 'after')).leave();
    await next.close();
  });
});
