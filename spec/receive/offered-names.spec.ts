import { expect } from 'chai';
import { parseEntryName } from '../../lib/name';
import { NamesOfSessions, type OfferedNames } from '../../lib/receive/offered-names';

const name = parseEntryName('file');

/** Offers so many names. */
function offer(names: OfferedNames, count: number): void {
  for (let at = 0; at < count; at++) names.claim(parseEntryName(String(at)));
}

describe('The names of sessions that may come back', () => {
  let all: NamesOfSessions;
  beforeEach(() => {
    all = new NamesOfSessions();
    const names = all.of('session', 'peer');
    names.claim(name);
    names.stored(name, name);
  });
  const isKept = (): boolean => all.of('session', 'peer').of(name).offered === 'stored';

  it('stay, however many sessions of another key come and offer nothing', () => {
    for (let at = 0; at < 100; at++) all.of(`empty${String(at)}`, 'greedy');
    expect(isKept()).to.equal(true);
  });

  it('stay, however many sessions of another key offer something', () => {
    for (let at = 0; at < 100; at++) all.of(`few${String(at)}`, 'greedy').claim(name);
    expect(isKept()).to.equal(true);
    expect(all.of('few99', 'greedy').of(name).offered, 'its newest ones').to.equal('not stored');
    expect(all.of('few0', 'greedy').of(name).offered, 'its oldest one').to.equal('never');
  });

  it('stay, however many names another key offers, in one session or in some', () => {
    for (let at = 0; at < 4; at++) all.of(`mine${String(at)}`, 'peer').claim(name);
    for (let at = 0; at < 3; at++) offer(all.of(`many${String(at)}`, 'greedy'), 260_000);
    all.of('many2', 'greedy');
    expect(isKept()).to.equal(true);
    expect(all.of('many0', 'greedy').of(parseEntryName('0')).offered, 'its oldest one').to.equal('never');
  });

  it('are those of the key that offered them', () => {
    expect(all.of('session', 'other').of(name).offered).to.equal('never');
    expect(isKept(), 'whoever else says the same id').to.equal(true);
  });
});
