import { rm } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { fileFrame, RawSender } from '../send/raw-sender';
import { contentOf, ReceiveDirectory } from './receive-directory';

interface NameVector {
  readonly input: string;
  readonly times?: number;
  readonly then?: string;
  readonly allow_hidden?: boolean;
  readonly accepted?: string | true;
  readonly refused?: string;
}

const { entries } = JSON.parse(
  readFileSync(path.join(__dirname, '..', '..', 'fixtures', 'vectors', 'names.json'), 'utf8'),
) as { entries: NameVector[] };

describe('names of names.json over the wire: refused ones leave nothing, and the next file on the same connection is taken', () => {
  let directory: ReceiveDirectory;
  let lax: ReceiveDirectory;
  before(async () => {
    directory = await ReceiveDirectory.open();
    lax = await ReceiveDirectory.open({ allowHidden: true });
  });
  after(async () => {
    await directory.close();
    await lax.close();
  });

  for (const { input, times = 1, then = '', allow_hidden: hidden = false, refused } of entries) {
    const name = input.repeat(times) + then;
    const shown = JSON.stringify(name.length > 40 ? `${name.slice(0, 40)}…` : name);
    if (refused === undefined) continue;
    it(`${shown}${hidden ? ' where hidden names are allowed' : ''}: ${refused}`, async () => {
      const { port, place, heard } = hidden ? lax : directory;
      const good = 'good.txt';
      const failedBefore = heard.all('failed').length;
      const before = await contentOf(place);
      const sender = await RawSender.dial(port);
      await sender.send(fileFrame(name, 'refused'));
      expect(await sender.frame()).to.include({ type: 'refusal', code: 'name', file_name: name });
      expect(await contentOf(place)).to.deep.equal(before);
      await sender.send(fileFrame(good, 'good'));
      sender.finish();
      expect(await sender.frame()).to.include({ type: 'receipt', file_name: good });
      await rm(path.join(place, good));
      expect(
        heard
          .all('failed')
          .slice(failedBefore)
          .map(({ code }) => code),
      ).to.deep.equal(['name']);
    });
  }
});
