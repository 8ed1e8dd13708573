import {
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { noise } from '../session/pair';
import { RawSession } from '../session/raw-session';
import { SessionRun } from './session-run';

const mib = 2 ** 20;

/** Bytes that are taken on the disk by everything below a directory. */
function allocated(place: string): number {
  return readdirSync(place, { withFileTypes: true }).reduce((sum, entry) => {
    const below = join(place, entry.name);
    return sum + (entry.isDirectory() ? allocated(below) : statSync(below).blocks * 512);
  }, 0);
}

describe('cli: what a receiver keeps at most (the built command)', () => {
  let run: SessionRun;
  beforeEach(() => {
    run = new SessionRun({ large: noise(3 * mib), last: noise(7 * mib, 3) });
  });
  afterEach(() => run.end());

  /** Sends all but the last piece of a file of 4 MiB, and goes. */
  async function leaveUnfinished(ticket: string, name: string): Promise<Record<string, unknown> | undefined> {
    const raw = await RawSession.open(ticket);
    const content = noise(4 * mib, name.charCodeAt(0));
    await raw.offer({ [name]: content.length });
    const refused = await Promise.race([raw.wanted(0).then(() => undefined), raw.outcome(0)]);
    if (refused === undefined) {
      await raw.segments(0, content, [3]);
      // Behind it everything before was taken.
      await raw.offer({ [`${name} small`]: 1 }, {}, 1);
      await Promise.race([raw.wanted(1), raw.outcome(1)]);
    }
    raw.hangUp();
    return refused;
  }

  it('counts unfinished files of sessions that are over, after a restart too, and lets them be finished', async () => {
    const { receiver, ticket } = await run.receive(['--quota', '10M']);
    const refused = [];
    for (const name of ['a', 'b', 'c', 'd', 'e']) {
      const refusal = await leaveUnfinished(ticket, name);
      if (refusal) refused.push(refusal['code']);
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    expect(refused).to.deep.equal(['quota', 'quota']);
    expect(allocated(run.at('in'))).to.be.at.most(10 * mib);
    expect(await run.run(['send', 'last', ticket])).to.include({ code: 6 });
    receiver.child.kill('SIGINT');
    await receiver.ended;

    const again = await run.receive(['--quota', '10M']);
    expect(await run.run(['send', 'last', again.ticket])).to.include({ code: 6 });
    const raw = await RawSession.open(again.ticket);
    const content = noise(4 * mib, 'a'.charCodeAt(0));
    await raw.offer({ a: content.length });
    await raw.wanted(0);
    await raw.segments(0, content);
    await raw.close(0, content);
    expect(await raw.outcome(0)).to.have.property('verified');
    await raw.finish();
  });

  it('counts what is written of a file with holes, and not less because its sender says so', async () => {
    const { receiver, ticket } = await run.receive(['--quota', '8M']);
    writeFileSync(run.at('image'), '');
    truncateSync(run.at('image'), 64 * mib);
    const fd = openSync(run.at('image'), 'r+');
    writeSync(fd, 'in the middle', 40 * mib);
    closeSync(fd);
    expect(await run.run(['send', 'image', ticket])).to.include({ code: 0 });
    expect(allocated(run.at('in'))).to.be.below(3 * mib);

    // As much as all of it in bytes, and all of it to be written.
    const raw = await RawSession.open(ticket);
    const content = noise(16 * mib, 5);
    await raw.offer({ liar: content.length }, { data: 1 });
    await raw.wanted(0);
    await raw.segments(0, content);
    expect(await raw.outcome(0)).to.include({ code: 'quota' });
    raw.hangUp();
    receiver.child.kill('SIGINT');
    await receiver.ended;

    // The same rule where all is counted again: 64 MiB in name are there.
    const again = await run.receive(['--quota', '8M']);
    expect(await run.run(['send', 'large', again.ticket])).to.include({ code: 0 });
    const refused = await run.run(['send', 'last', again.ticket]);
    expect(refused).to.include({ code: 6 });
    expect(refused.stderr).to.match(/last needs 7\.0 MiB, and [\d.]+ [KM]iB are left of this receiver's quota/);
    expect(allocated(run.at('in'))).to.be.below(8 * mib);
  });

  it('has room again for what was removed', async () => {
    const { ticket } = await run.receive(['--quota', '8M']);
    expect(await run.run(['send', 'large', ticket])).to.include({ code: 0 });
    expect(await run.run(['send', 'last', ticket])).to.include({ code: 6 });
    rmSync(run.at('in', 'large'));
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    expect(await run.run(['send', 'last', ticket])).to.include({ code: 0 });
  });

  it('counts files, directories, symbolic and hard links with --quota-files, of backups too', async () => {
    mkdirSync(run.at('tree', 'd1', 'd2'), { recursive: true });
    writeFileSync(run.at('tree', 'd1', 'd2', 'file'), 'x');
    linkSync(run.at('tree', 'd1', 'd2', 'file'), run.at('tree', 'hard'));
    symlinkSync('nowhere', run.at('tree', 'soft'));
    const sent = async (most: number, ...words: readonly string[]): Promise<number | null> => {
      rmSync(run.at('in'), { recursive: true });
      mkdirSync(run.at('in'), { mode: 0o755 });
      const { receiver, ticket } = await run.receive(['--quota-files', String(most)]);
      const { code } = await run.run([words[0] ?? '', 'tree', ticket, ...words.slice(1), '--retry-for', '0s']);
      receiver.child.kill('SIGKILL');
      await receiver.ended;
      return code;
    };
    expect(await sent(6, 'send')).to.equal(0);
    expect(await sent(5, 'send')).to.equal(8);
    expect(await sent(3, 'backup', '--name', 'b')).not.to.equal(0);
  });

  it('counts the directories of long names with --quota-files', async () => {
    const { ticket } = await run.receive(['--quota-files', '20']);
    const raw = await RawSession.open(ticket);
    await raw.offer({ [`${'d/'.repeat(30)}file`]: 1, small: 1 });
    expect(await raw.outcome(0)).to.include({ code: 'quota' });
    await raw.wanted(1);
    raw.hangUp();
  });
});
