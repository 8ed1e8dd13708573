import { expect } from 'chai';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import type { SendallProcess } from './sendall-process';
import { SessionRun } from './session-run';

/** Ends a receiver by SIGTERM, which must not take longer than this, in ms. */
const endsWithin = 1_000;

describe('cli: a receive directory that is removed while a receiver runs', function () {
  this.timeout(60_000);
  let run: SessionRun;
  beforeEach(() => {
    run = new SessionRun();
    mkdirSync(run.at('tree'));
    for (const name of ['a', 'b', 'c']) writeFileSync(run.at('tree', name), name);
    writeFileSync(run.at('large'), Buffer.alloc(3_000_000, 'l'));
  });
  afterEach(() => run.end());

  const stop = async (receiver: SendallProcess): Promise<void> => {
    const began = performance.now();
    receiver.child.kill('SIGTERM');
    expect((await receiver.ended).code).to.equal(130);
    expect(performance.now() - began).to.be.below(endsWithin);
  };
  const codeOf = async (...command: string[]): Promise<number | null> => (await run.run(command)).code;

  for (const removed of ['.sendall', '.sendall/stage'])
    it(`makes ${removed} anew`, async () => {
      const { receiver, ticket } = await run.receive();
      expect(await codeOf('send', 'tree', ticket)).to.equal(0);
      rmSync(run.at('in', removed), { recursive: true });
      writeFileSync(run.at('tree/d'), 'd');
      expect(await codeOf('send', 'tree', 'large', ticket)).to.equal(0);
      rmSync(run.at('in', removed), { recursive: true });
      expect(await codeOf('backup', 'tree', 'large', ticket, '--name', 'b')).to.equal(0);
      expect(readFileSync(run.at('in/tree/d'), 'utf8')).to.equal('d');
      await stop(receiver);
      expect(await codeOf('verify', run.at('in'))).to.equal(0);
      expect(readdirSync(run.at('in/.sendall'))).to.not.include('lock');
    });

  it('refuses what comes while the whole directory is gone, and takes it again once it is there', async () => {
    const { receiver, ticket } = await run.receive();
    const address = /127\.0\.0\.1:\d+/.exec(ticket)?.[0] ?? '';
    const plain = `tcp://${address}`;
    rmSync(run.at('in'), { recursive: true });
    for (const command of [
      ['send', 'tree', ticket],
      ['send', 'large', ticket],
      ['backup', 'tree', ticket, '--name', 'b'],
      ['send', 'large', plain],
    ])
      expect(await codeOf(...command), command.join(' ')).to.equal(6);
    mkdirSync(run.at('in'), { mode: 0o700 });
    for (const target of [ticket, plain]) expect(await codeOf('send', 'large', target)).to.equal(0);
    // Moved away, it is not what the receiver was started for.
    renameSync(run.at('in'), run.at('away'));
    mkdirSync(run.at('in'), { mode: 0o700 });
    expect(await codeOf('send', 'tree', ticket)).to.equal(0);
    expect(readdirSync(run.at('in'))).to.include('tree');
    expect(readdirSync(run.at('away'))).to.not.include('tree');
    await stop(receiver);
  });

  it('ends a transfer that is under way with a reason', async () => {
    const { receiver, ticket } = await run.receive();
    writeFileSync(run.at('larger'), Buffer.alloc(40_000_000, 'm'));
    for (let number = 0; number < 500; number++) writeFileSync(run.at('tree', String(number)), String(number));
    const sending = run.start(['send', 'larger', 'tree', ticket, '--limit', '20M']);
    while (!readdirSync(run.at('in/.sendall')).includes('partial')) await new Promise((wake) => setTimeout(wake, 10));
    rmSync(run.at('in'), { recursive: true });
    const { code, stderr } = await sending.ended;
    expect(code, stderr).to.be.oneOf([6, 8]);
    await stop(receiver);
  });
});
