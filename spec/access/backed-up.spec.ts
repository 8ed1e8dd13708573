import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { BackedUp } from '../../lib/internal';

describe('What was backed up from this machine', () => {
  let directory: string;
  let file: string;
  beforeEach(() => {
    directory = mkdtempSync(path.join(tmpdir(), 'sendall-backed-up-'));
    file = path.join(directory, 'made', 'backed-up.json');
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('is known by the names of the backups, as absolute paths, as of the last run of each', async () => {
    const backedUp = new BackedUp(file);
    expect(await backedUp.paths()).to.deep.equal([]);
    await backedUp.remember('laptop', ['/old']);
    await backedUp.remember('photos', ['/home/eve/photos']);
    await backedUp.remember('laptop', ['/etc', 'here']);
    expect(await new BackedUp(file).paths('laptop')).to.deep.equal(['/etc', path.resolve('here')]);
    expect(await backedUp.paths()).to.have.members(['/etc', path.resolve('here'), '/home/eve/photos']);
    expect(await backedUp.paths('desk')).to.deep.equal([]);
  });

  it('is for the user alone, and not believed where others could have written it', async () => {
    const backedUp = new BackedUp(file);
    await backedUp.remember('laptop', ['/etc']);
    expect(statSync(file).mode & 0o077).to.equal(0);
    chmodSync(file, 0o666);
    expect(await backedUp.paths().catch((error: unknown) => error)).to.have.property('code', 'usage');
  });

  it('is never written over where it is damaged', async () => {
    await new BackedUp(file).remember('laptop', ['/etc']);
    writeFileSync(file, 'no JSON');
    expect(await new BackedUp(file).remember('photos', ['/x']).catch((error: unknown) => error)).to.have.property(
      'code',
      'usage',
    );
    expect(readFileSync(file, 'utf8')).to.equal('no JSON');
  });
});
