import { expect } from 'chai';
import { once } from 'node:events';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Grouping } from './grouping';
import { expectWhole, start } from './grouping-run';
import { emptyDirectory, everythingIn } from './local-place';

describe('A receiver of groups that is killed', () => {
  it('leaves whole files only, at whatever moment, all that it has told of, and nothing staged for the next one', async function () {
    this.timeout(60_000);
    let told = 0;
    let left = 0;
    for (const groups of [1, 3]) {
      const directory = await emptyDirectory();
      const { child, lines } = start(directory, 'endless');
      while (lines.length <= groups) await pause(5);
      await pause(Math.random() * 60);
      child.kill('SIGKILL');
      await once(child, 'close');
      const names = new Set(await expectWhole(directory));
      for (const line of lines.slice(1)) {
        const [group = ''] = line.split(':');
        expect(line).to.equal(`${group}: stored`);
        for (let file = 0; file < 40; file++)
          expect([names.has(`old/${group}-${file}`), names.has(`new${group}/d${file % 4}/f${file}`)]).to.deep.equal([
            true,
            true,
          ]);
        told++;
      }
      left += (await everythingIn(path.join(directory, '.sendall/stage'))).length;
      const next = await Grouping.open({ directory });
      expect(await everythingIn(path.join(directory, '.sendall/stage'))).to.deep.equal([]);
      await next.end();
    }
    expect(left, 'what was staged when it was killed').to.be.greaterThan(0);
    expect(told, 'groups that were stored before it was killed').to.be.greaterThan(0);
  });
});
