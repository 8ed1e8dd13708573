import { expect } from 'chai';
import { barLine, columnsOf } from '../../cli/bar-line';
import type { TransferState } from '../../cli/tally';

const half: TransferState = {
  phase: 'send',
  name: 'disk.img',
  done: 512 * 1024 ** 2,
  total: 1024 ** 3,
  moved: 512 * 1024 ** 2,
  rate: 353 * 1024 ** 2,
  eta: 1.45,
  files: undefined,
  ofFiles: undefined,
  still: undefined,
};

describe('cli/bar-line', () => {
  it('shows the file, the phase, a bar, percent, rate and the time left', () => {
    expect(barLine(half, 100)).to.equal(
      'disk.img  send     [===============---------------]   50 %  512 MiB of 1.0 GiB  353 MiB/s  ETA 1.4 s',
    );
  });

  it('says in place of the rate why there is none', () => {
    const still = (why: TransferState['still']): string =>
      barLine({ ...half, rate: 0, eta: undefined, still: why }, 100);
    expect(still({ for: 12.7 })).to.match(/512 MiB of 1\.0 GiB {2}nothing moves for 12 s$/);
    expect(still('connection-lost')).to.match(/512 MiB of 1\.0 GiB {2}connection lost, trying again$/);
  });

  it('counts the files where there are several', () => {
    expect(barLine({ ...half, files: 2000 }, 100)).to.include('2,000 files ended');
    expect(barLine({ ...half, files: 1999, ofFiles: 2000 }, 100)).to.include('1,999 of 2,000 files');
  });

  it('fits into every width, and keeps percent and rate to the last', () => {
    const names = [
      'a',
      'Bilder/Ein sehr langer Name mit vielen Zeichen.tar.gz',
      '東京の写真と動画のアーカイブ.zip',
      '🎉'.repeat(30),
    ];
    for (const name of names) {
      for (let columns = 1; columns <= 200; columns += 1) {
        const line = barLine({ ...half, name, files: 19999 }, columns);
        expect(columnsOf(line), `${columns.toString()}: ${line}`).to.be.at.most(columns);
        if (columns >= 14) expect(line).to.include('50 %');
        if (columns >= 40) expect(line).to.include('353 MiB/s').and.include('ETA');
      }
    }
  });

  it('is ASCII alone where that is wanted, and fits as well', () => {
    for (let columns = 1; columns <= 200; columns += 1) {
      const line = barLine(
        { ...half, name: 'Fotos aus der Münchner Straße und Umgebung.zip', files: 19999 },
        columns,
        true,
      );
      expect(line).to.match(/^[ -~]*$/);
      expect(line.length).to.be.at.most(columns);
    }
    expect(barLine({ ...half, name: 'Größe.zip' }, 120, true)).to.match(/^Gr\\u00f6\\u00dfe\.zip /);
  });

  it('shows neither bar nor percent where no total is known', () => {
    const line = barLine({ ...half, name: undefined, done: 0, total: 0, eta: undefined, files: 190 }, 80);
    expect(line).to.equal('send     190 files ended  512 MiB  353 MiB/s');
  });

  it('escapes the name, and stays within its bounds for a total of nothing', () => {
    expect(barLine({ ...half, name: 'a\u001b[2Jb' }, 120)).to.include('a\\u001b[2Jb');
    expect(barLine({ ...half, done: 0, total: 0 }, 80)).to.include('  0 %');
    expect(barLine({ ...half, done: 5, total: 4 }, 80)).to.include('100 %');
  });
});
