import { expect } from 'chai';
import {
  appendFileSync,
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { parseEntryName } from '../../lib/name';
import { SmallSourceReader } from '../../lib/send/small-source-reader';
import { eventsOf } from './sendall-process';
import { SessionRun } from './session-run';
import { skipTest } from '../skip-test';

describe('cli: files that are written to while they are read', function () {
  this.timeout(60_000);
  let run: SessionRun;
  let writing: NodeJS.Timeout | undefined;
  beforeEach(() => {
    run = new SessionRun();
    mkdirSync(run.at('logs'));
    writeFileSync(run.at('logs/small'), 'begun\n');
    writeFileSync(run.at('logs/large'), Buffer.alloc(24_000_000, 'a line of a log\n'));
  });
  afterEach(async () => {
    clearInterval(writing);
    await run.end();
  });

  it('are taken as far as they went, if they are only appended to, and that is said', async () => {
    let count = 0;
    writing = setInterval(() => {
      for (const name of ['small', 'large']) appendFileSync(run.at('logs', name), `${String(count++)}\n`);
    }, 1);
    const { ticket } = await run.receive();
    const plain = `tcp://${/127\.0\.0\.1:\d+/.exec(ticket)?.[0] ?? ''}`;
    for (const [stored, command] of [
      ['in/logs', ['send', 'logs', ticket, '--json']],
      ['in/b/latest/logs', ['backup', 'logs', ticket, '--name', 'b', '--json']],
      ['in/other', ['send', 'logs/large', plain, '--name', 'other', '--json']],
    ] as const) {
      const sent = await run.run(command);
      expect(sent.code, sent.stderr).to.equal(0);
      const large = eventsOf(sent).find((event) => event.event === 'sent' && event.file_size > 1_000_000);
      expect(large).to.include({ source_grew: true });
      const names = stored.endsWith('logs') ? ['small', 'large'] : [''];
      if (names.length === 2) expect(readdirSync(run.at(stored)).sort()).to.deep.equal(['large', 'small']);
      for (const name of names) {
        const content = readFileSync(run.at(stored, name));
        const source = readFileSync(run.at('logs', name || 'large'));
        expect(content.length).to.be.greaterThan(5);
        expect(content.equals(source.subarray(0, content.length)), `${stored} ${name}`).to.equal(true);
      }
    }
    expect((await run.run(['verify', 'in'])).code).to.equal(0);
  });

  it('of which the system tells no size are named, and not stored as empty', async function () {
    if (process.platform !== 'linux') skipTest(this, 'it is about Linux');
    const kept = await run.run(['backup', 'logs', '/proc/version', run.at('in'), '--name', 'b']);
    expect(kept.code, kept.stderr).to.equal(8);
    expect(kept.stderr).to.include('version says that it is empty, and has content');
    expect(readdirSync(run.at('in/b/latest'))).to.not.include('version');
    writeFileSync(run.at('empty'), '');
    const name = parseEntryName('name');
    const [version, empty] = await new SmallSourceReader().readAll([
      { path: '/proc/version', name },
      { path: run.at('empty'), name },
    ]);
    expect(version).to.include({ code: 'source-unreadable' });
    expect(empty).to.have.property('files').with.lengthOf(1);
  });

  it('fail as changed, if they are rewritten in the middle as well', async () => {
    const file = openSync(run.at('logs/large'), 'r+');
    let count = 0;
    writing = setInterval(() => {
      for (let place = 0; place < 20; place++) writeSync(file, String(count++), ((count * 7919) % 5_000) * 4096);
      writeSync(file, 'more\n', fstatSync(file).size);
    }, 1);
    const { ticket } = await run.receive();
    const plain = `tcp://${/127\.0\.0\.1:\d+/.exec(ticket)?.[0] ?? ''}`;
    for (const target of [ticket, plain])
      expect((await run.run(['send', 'logs/large', target, '--name', 'l'])).code).to.equal(5);
    const backup = await run.run(['backup', 'logs', ticket, '--name', 'b', '--json']);
    expect(backup.code).to.equal(8);
    expect(eventsOf(backup)).to.deep.include({
      ...eventsOf(backup).find(({ event }) => event === 'failed'),
      file_name: 'logs/large',
      code: 'source-changed',
    });
    clearInterval(writing);
    closeSync(file);
    // What the snapshot never had is no success of a restore either, unless nobody asked for it.
    for (const [place, words, code] of [
      ['in', [], 8],
      [ticket, [], 8],
      ['in', ['logs/small'], 0],
    ] as const) {
      const restored = await run.run(['restore', place, 'b/latest', `out ${String(code)}`, ...words]);
      expect(restored.code, `${words.join()}: ${restored.stderr}`).to.equal(code);
      if (code !== 0) expect(restored.stderr).to.match(/logs\/large/);
    }
    expect(readdirSync(run.at('in')).sort()).to.deep.equal(['.sendall', 'b']);
  });
});
