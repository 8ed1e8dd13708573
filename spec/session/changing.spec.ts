import { appendFileSync, renameSync, writeFileSync } from 'node:fs';
import { open, readdir, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { Heard } from '../receive/receive-directory';
import { MiB, noise, Pair } from './pair';

describe('a source that changes while a session sends it', () => {
  let pair: Pair;
  const size = 24 * MiB;
  const others = { after: noise(2 * MiB, 2), small: 'small' };

  beforeEach(async () => {
    pair = await Pair.make({ 'a-changing': noise(size), ...others });
  });
  afterEach(() => pair.close());

  const onlyTheOthers = async (): Promise<void> => {
    expect((await readdir(pair.to.place)).filter((name) => name !== '.sendall').sort()).to.deep.equal([
      'after',
      'small',
    ]);
    expect(await pair.to.read('after')).to.deep.equal(others.after);
  };

  const changes: readonly (readonly [string, (place: string) => Promise<void>])[] = [
    ['shrinks', (place) => truncate(place, 5 * MiB)],
    [
      'is rewritten where it was sent already',
      async (place) => {
        const handle = await open(place, 'r+');
        await handle.write(noise(100, 9), 0, 100, 10);
        await handle.close();
      },
    ],
    [
      'is rewritten, and its time put back',
      async (place) => {
        const handle = await open(place, 'r+');
        const { atime, mtime } = await handle.stat();
        await handle.write(noise(100, 9), 0, 100, 23 * MiB);
        await handle.close();
        await utimes(place, atime, mtime);
      },
    ],
  ];
  for (const [what, change] of changes) {
    it(`${what}: source-changed, nothing of it is stored, the others arrive`, async () => {
      const relay = await pair.relay();
      const running = pair.send(['a-changing', 'after', 'small'], { relay, connections: 2, limit: 30 * MiB });
      await relay.until(() => relay.there > 6 * MiB);
      await change(pair.source.at('a-changing'));
      const { failed, error, heard } = await running;
      expect(failed).to.deep.equal(['source-changed']);
      expect(heard.all('failed')[0]?.file_name).to.equal('a-changing');
      expect(error?.code).to.equal('some-failed');
      expect(heard.all('sent').map(({ file_name: name }) => name)).to.have.members(['after', 'small']);
      await onlyTheOthers();
      expect(pair.to.heard.all('failed').map(({ code }) => code)).to.deep.equal(['source-changed']);
    });
  }

  it('while the network is away: what is on the disk is of no use, and the new content arrives whole when it is sent again', async () => {
    const relay = await pair.relay();
    const running = pair.send(['a-changing', 'after'], { relay, connections: 2, limit: 30 * MiB });
    await relay.until(() => relay.there > 8 * MiB);
    await relay.fall();
    await sleep(300);
    const content = noise(size, 4);
    await writeFile(pair.source.at('a-changing'), content);
    await relay.accept();
    expect((await running).failed).to.deep.equal(['source-changed']);
    expect((await pair.send(['a-changing', 'after', 'small'])).error).to.equal(undefined);
    expect((await pair.to.read('a-changing')).equals(content)).to.equal(true);
  });

  it('after one of its connections was lost with some of it', async () => {
    const relay = await pair.relay();
    const running = pair.send(['a-changing', 'after', 'small'], { relay, connections: 3, limit: 30 * MiB });
    await relay.until(() => (relay.lines[2]?.bytes.there ?? 0) > 3 * MiB);
    relay.lines[2]?.cut();
    await writeFile(pair.source.at('a-changing'), 'X', { flag: 'r+' });
    const { failed } = await running;
    expect(failed).to.deep.equal(['source-changed']);
    await onlyTheOthers();
  });

  it('or is gone before its turn: source-unreadable or source-changed, and the others arrive', async () => {
    const relay = await pair.relay();
    const running = pair.send(['after', 'a-changing', 'small'], { relay, limit: 4 * MiB });
    await relay.until(() => relay.there > 0.5 * MiB);
    await rm(pair.source.at('a-changing'));
    const { heard } = await running;
    expect(heard.all('failed')).to.have.lengthOf(1);
    expect(heard.all('failed')[0]?.code).to.be.oneOf(['source-unreadable', 'source-changed']);
    expect(heard.all('failed')[0]?.file_name).to.equal('a-changing');
    await onlyTheOthers();
  });

  const longer: readonly (readonly [string, (place: string, content: Buffer) => void])[] = [
    [
      'replaced by',
      (place, content) => {
        writeFileSync(`${place}.new`, content);
        renameSync(`${place}.new`, place);
      },
    ],
    ['rewritten in place as', (place, content) => writeFileSync(place, content)],
  ];
  for (const [what, change] of longer) {
    for (const old of [false, true]) {
      it(`or is ${what} a longer one before its turn${old ? ', after days without a change' : ''}: source-changed, not its beginning`, async () => {
        // Files that are named are looked at whatever their age.
        const [named, under] = old
          ? [['tree', 'after', 'small'], 'tree/']
          : [['b-large', 'c-log', 'after', 'small'], ''];
        await pair.source.write(`${under}b-large`, noise(200_000, 5));
        await pair.source.write(`${under}c-log`, noise(200_000, 6));
        if (old) await utimes(pair.source.at(`${under}b-large`), 1e9, 1e9);
        // When its turn has come and nothing of it is opened yet, in whatever order the receiver answers.
        const turns: Record<string, (place: string) => void> = {
          [`${under}b-large`]: (place) => change(place, noise(300_000, 7)),
          [`${under}c-log`]: (place) => appendFileSync(place, 'one more line'),
        };
        const heard = new Heard();
        heard.also((event) => {
          if (event.event !== 'started') return;
          turns[event.file_name]?.(pair.source.at(event.file_name));
          delete turns[event.file_name];
        });
        const { failed } = await pair.send(named, {}, heard);
        expect(turns).to.deep.equal({});
        expect(failed).to.deep.equal(['source-changed']);
        expect(heard.all('failed')[0]?.file_name).to.equal(`${under}b-large`);
        const sent = heard.all('sent');
        expect(sent.map(({ file_name: name }) => name)).to.include.members(['after', 'small', `${under}c-log`]);
        expect(sent.filter(({ source_grew: grew }) => grew).map(({ file_name: name }) => name)).to.deep.equal([
          `${under}c-log`,
        ]);
        expect(await readdir(`${pair.to.place}/${under}`))
          .to.include('c-log')
          .and.to.not.include('b-large');
        // One that was only appended to is taken as far as it went when it was found.
        expect((await pair.to.read(`${under}c-log`)).equals(noise(200_000, 6))).to.equal(true);
        expect(await pair.to.read('after')).to.deep.equal(others.after);
      });
    }
  }

  it('small ones too: among hundreds, only those that changed are missing', async () => {
    const names = Array.from({ length: 800 }, (_, at) => `many/${String(at).padStart(3, '0')}`);
    for (const [at, name] of names.entries()) await pair.source.write(name, noise(4000, at));
    const changing = names.filter((_, at) => at % 100 === 99);
    const running = pair.send(['after', 'many'], { limit: MiB, connections: 2 });
    await pair.to.heard.first('started');
    for (const name of changing) await writeFile(pair.source.at(name), 'changed');
    const { heard } = await running;
    const failed = heard.all('failed');
    expect(new Set(failed.map(({ code }) => code))).to.deep.equal(new Set(['source-changed']));
    for (const { file_name: name } of failed) expect(changing).to.include(name);
    expect(failed.length + heard.all('sent').length).to.equal(801);
    const stored = await readdir(`${pair.to.place}/many`);
    for (const { file_name: name } of failed) expect(stored).not.to.include(name?.slice('many/'.length));
  });
});
