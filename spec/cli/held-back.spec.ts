import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { Waits } from '../../lib/progress';
import { heldBackBy } from '../../lib/session/summary';
import { eventsOf, sendall, SendallProcess } from './sendall-process';
import { lastOf, ticketOf } from './session-run';

describe('cli: what held a transfer back', () => {
  let directory: string;
  before(() => {
    directory = mkdtempSync(path.join(tmpdir(), 'sendall-held-'));
    for (const name of ['in', 'kept', 'back']) mkdirSync(path.join(directory, name), { mode: 0o755 });
    writeFileSync(path.join(directory, 'file'), Buffer.alloc(3_000_000, 7));
  });
  after(() => rmSync(directory, { recursive: true }));

  it('is the limit that the user set, on both wires', async () => {
    const receiver = new SendallProcess(['receive', 'in', '--listen', '127.0.0.1:0', '--json'], { cwd: directory });
    const ticket = await ticketOf(receiver);
    const [, address = ''] = await receiver.says(/"address":"(tcp:[^"]+)"/);
    for (const [target, name] of [
      [ticket, 'a'],
      [address, 'b'],
    ] as const) {
      const sent = await sendall(['send', 'file', target, '--name', name, '--limit', '1M', '--json'], {
        cwd: directory,
      });
      expect(lastOf(eventsOf(sent), 'summary').bottleneck, name).to.equal('limit');
    }
    receiver.child.kill('SIGKILL');
    await receiver.ended;
  });

  it('is what the receiver did with a file too small to fill a wire, and nothing where it had it', async () => {
    const receiver = new SendallProcess(['receive', 'in', '--listen', '127.0.0.1:0', '--json'], { cwd: directory });
    const ticket = await ticketOf(receiver);
    writeFileSync(path.join(directory, 'small'), 'small\n');
    for (const expected of ['write', null]) {
      const sent = await sendall(['send', 'small', ticket, '--json'], { cwd: directory });
      expect(lastOf(eventsOf(sent), 'summary').bottleneck).to.equal(expected);
    }
    receiver.child.kill('SIGTERM');
    const summary = lastOf(eventsOf(await receiver.ended), 'summary');
    expect(summary.bottleneck).to.equal(null);
  });

  it('is never the network where there is none', async () => {
    const backed = await sendall(['backup', 'file', 'kept', '--name', 'b', '--json'], { cwd: directory });
    const restored = await sendall(['restore', 'kept', 'b/latest', 'back', '--json'], { cwd: directory });
    expect(restored.code, restored.stderr).to.equal(0);
    for (const ended of [backed, restored])
      expect(lastOf(eventsOf(ended), 'summary').bottleneck).to.be.oneOf(['source', 'write', 'verify']);
  });

  it('is what took longest, as the one that waited knows it', () => {
    const waits = (spent: Partial<Waits['spent']>): Waits => {
      const made = new Waits();
      Object.assign(made.spent, spent);
      return made;
    };
    expect(heldBackBy(waits({ source: 3, network: 2 }), waits({ write: 9 }), false)).to.equal('source');
    expect(heldBackBy(waits({ source: 1, network: 2 }), waits({ write: 9, network: 1 }), false)).to.equal('write');
    expect(heldBackBy(waits({ network: 2 }), waits({ network: 9, write: 1 }), false)).to.equal('network');
    expect(heldBackBy(waits({ network: 2 }), waits({ network: 9, verify: 1 }), true)).to.equal('verify');
    expect(heldBackBy(waits({ hash: 2, limit: 1 }), waits({}), false)).to.equal('hash');
    expect(heldBackBy(waits({}), waits({}), false)).to.equal(null);
  });
});
