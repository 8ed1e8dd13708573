import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { send, type TransferEvent } from '../../lib/index';
import { sendToSeveral } from '../../lib/send/several';
import { createKey, formatTicket } from '../../lib/net/ticket';
import { backup } from '../../lib/snapshot/backup/backup';
import { codeOf } from '../store/delivery';
import { eventsOf, sendall } from './sendall-process';

describe('cli: a path that is not there', function () {
  this.timeout(60_000);
  let directory: string;
  before(() => (directory = mkdtempSync(join(tmpdir(), 'sendall-absent-'))));
  after(() => rmSync(directory, { recursive: true }));

  it('is told with exit code 2, whether or not somebody listens', async () => {
    const cwd = directory;
    const sent = await sendall(['send', 'nothere', 'unix:nobody', '--json'], { cwd });
    expect(sent.code, sent.stderr).to.equal(2);
    expect(eventsOf(sent).map(({ event }) => event)).to.deep.equal(['failed', 'summary']);
    const kept = await sendall(['backup', 'nothere', 'neither', directory, '--name', 'b'], { cwd });
    expect(kept.code, kept.stderr).to.equal(2);
    expect(kept.stderr).to.include('nothere does not exist').and.to.include('neither does not exist');
    const source = await sendall(['verify', directory, '--repair', '--source', 'nothere'], { cwd });
    expect(source.code, source.stderr).to.equal(2);
    expect(readdirSync(directory)).to.deep.equal([]);
  });

  it('is called what it was called, and an empty one is no directory', async () => {
    const cwd = directory;
    for (const [words, said] of [
      [['src/nothere'], 'src/nothere does not exist.\n'],
      [[''], 'A path is empty.\n'],
    ] as const) {
      const sent = await sendall(['send', ...words, 'unix:nobody'], { cwd });
      expect(sent.code, sent.stderr).to.equal(2);
      expect(sent.stderr).to.include(said);
      const kept = await sendall(['backup', ...words, directory, '--name', 'b'], { cwd });
      expect(kept.code, kept.stderr).to.equal(2);
      expect(kept.stderr).to.include(said);
    }
  });

  it('is told before anything is dialed or waited for, on each way, of several paths each', async () => {
    const target = formatTicket({ ...createKey(), address: { kind: 'tcp', host: '127.0.0.1', port: 1 } });
    const paths = [join(directory, 'nothere'), join(directory, 'neither')];
    const failed: (string | undefined)[] = [];
    const on = (event: TransferEvent): void => {
      if (event.event === 'failed') failed.push(event.file_name);
    };
    const ways: Record<string, () => Promise<unknown>> = {
      plain: () => send({ paths, target: `unix:${directory}/nobody`, on }),
      session: () => send({ paths, target, on }),
      code: () => send({ paths, target: '4821-crane-velvet@127.0.0.1:1', on }),
      listening: () => send({ paths, listen: '127.0.0.1:0', on }),
      several: () => sendToSeveral({ paths, receivers: [{ name: 'one', target }], on }),
      backup: () => backup({ paths, name: 'b', target, on }),
    };
    for (const [way, attempt] of Object.entries(ways)) {
      expect(await codeOf(attempt()), way).to.equal('source-unreadable');
      expect(failed.splice(0), way).to.deep.equal(['nothere', 'neither']);
    }
  });
});
