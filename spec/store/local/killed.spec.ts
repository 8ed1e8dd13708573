import { expect } from 'chai';
import { readFileSync } from 'node:fs';
import { readdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { LocalStore } from '../../../lib/store/local/local';
import { codeOf, md5Of } from '../delivery';
import { emptyDirectory, everythingIn } from './local-place';
import { md5OfRepeated } from './receiving';
import { ReceivingProcess } from './receiving-process';

const mib = 1024 * 1024;

describe('A receiver that is killed', () => {
  let directory: string;
  beforeEach(async () => (directory = await emptyDirectory()));
  afterEach(() => rm(directory, { recursive: true, force: true }));

  it('leaves whole files only, at whatever moment, and the next one collects what it staged', async function () {
    this.timeout(30_000);
    const size = 6 * mib + 321;
    const whole = new Set([0, 1, 2].map((seed) => md5OfRepeated(seed, size)));
    let leftovers = 0;
    for (const ms of [60, 110, 170, 240, 320, 410]) {
      const receiving = new ReceivingProcess();
      await receiving.open(directory);
      const orders = (async () => {
        for (let turn = 0; ; turn++)
          await receiving.receive(`d${turn % 5}/f`, size, { seed: turn % 3, ifExists: 'replace' });
      })().catch(() => undefined);
      await pause(ms + Math.random() * 40);
      await receiving.kill();
      await orders;
      leftovers += (await everythingIn(directory)).filter(
        (name) => name.startsWith('.sendall/stage/') && name.length > 20,
      ).length;
      for (const name of await readdir(directory)) {
        if (name === '.sendall') continue;
        for (const file of await readdir(path.join(directory, name))) {
          expect(
            whole.has(md5Of(await readFile(path.join(directory, name, file)))),
            `${name}/${file} is whole`,
          ).to.equal(true);
        }
      }
      const store = await LocalStore.open(directory);
      expect(await readdir(path.join(directory, '.sendall', 'stage'))).to.deep.equal([]);
      await store.close();
      expect(await readdir(directory)).not.to.include('.sendall');
    }
    expect(leftovers, 'files that were staged when it was killed').to.be.greaterThan(0);
  });

  it('leaves nothing of a file whose bytes were still arriving', async () => {
    const receiving = new ReceivingProcess();
    await receiving.open(directory);
    const lost = receiving.receive('a/b/f', 20 * mib, { pause: 20 }).catch(() => 'lost');
    const staged = (): Promise<string[]> => everythingIn(path.join(directory, '.sendall', 'stage'));
    while ((await staged()).length === 0) await pause(10);
    expect(await staged()).to.have.lengthOf(1);
    await receiving.kill();
    expect(await lost).to.equal('lost');
    await (await LocalStore.open(directory)).close();
    expect(await everythingIn(directory)).to.deep.equal([]);
  });

  it('gives its lock to the next one', async () => {
    const receiving = new ReceivingProcess();
    await receiving.open(directory);
    expect(await codeOf(LocalStore.open(directory))).to.equal('directory');
    await receiving.kill();
    await (await LocalStore.open(directory)).close();
  });
});

describe('A file that is replaced', () => {
  it('can be read at every instant, and is always one of the whole ones', async () => {
    const directory = await emptyDirectory();
    const receiving = new ReceivingProcess();
    try {
      await receiving.open(directory);
      const size = 70_001;
      await receiving.receive('f', size, { seed: 0 });
      const whole = new Set([0, 1].map((seed) => md5OfRepeated(seed, size)));
      const seen = new Set<string>();
      let busy = true;
      const replacing = (async () => {
        for (let turn = 1; turn <= 40; turn++)
          await receiving.receive('f', size, { seed: turn % 2, ifExists: 'replace' });
      })().finally(() => (busy = false));
      while (busy) {
        for (let look = 0; look < 10; look++) seen.add(md5Of(readFileSync(path.join(directory, 'f'))));
        await pause(0);
      }
      await replacing;
      expect([...seen].sort()).to.deep.equal([...whole].sort());
    } finally {
      await receiving.end();
      await rm(directory, { recursive: true, force: true });
    }
  });
});

describe('Memory', () => {
  it('stays under 160 MiB while 512 MiB are received', async function () {
    this.timeout(180_000);
    const directory = await emptyDirectory();
    const receiving = new ReceivingProcess();
    try {
      await receiving.open(directory);
      expect(await receiving.receive('large', 512 * mib)).to.include({ outcome: 'stored' });
      const { bytes } = await receiving.ask({ order: 'resident' });
      expect(Number(bytes) / mib).to.be.within(30, 160);
    } finally {
      await receiving.end();
      await rm(directory, { recursive: true, force: true });
    }
  });
});
