import { chmodSync, chownSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { parseCodeTarget } from '../../lib/codes/code';
import { KeptTickets } from '../../lib/codes/kept-tickets';
import { createKey, formatTicket, type Ticket } from '../../lib/net/ticket';
import { temporaryDirectory } from '../receive/receive-directory';
import { thrownCode } from '../wire/thrown-code';

const { code } = parseCodeTarget('4821-crane-velvet');
const other = parseCodeTarget('4821-crane-violin').code;
const asRoot = process.geteuid?.() === 0 ? it : it.skip;

describe('tickets that came of codes', () => {
  let directory: string;
  let file: string;
  beforeEach(async () => {
    directory = await temporaryDirectory();
    file = join(directory, 'sendall', 'codes.json');
    mkdirSync(join(directory, 'sendall'), { mode: 0o700 });
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  const ticket = (): Ticket => ({ ...createKey(), address: { kind: 'tcp', host: '10.0.0.5', port: 8898 } });
  const found = (of = code): string | undefined => {
    const kept = new KeptTickets(file).find(of);
    return kept && formatTicket(kept.ticket);
  };
  const written = (): Record<string, { ticket: string; until: number }> =>
    JSON.parse(readFileSync(file, 'utf8')) as Record<string, { ticket: string; until: number }>;

  it('are found by their code, also by another process, and are forgotten', async () => {
    const [one, two] = [ticket(), ticket()];
    const kept = new KeptTickets(file);
    await Promise.all([kept.keep(code, one), new KeptTickets(file).keep(other, two)]);
    expect([found(), found(other)]).to.deep.equal([formatTicket(one), formatTicket(two)]);
    expect(statSync(file).mode & 0o777).to.equal(0o600);
    for (const secret of [...code.words, code.number]) expect(Object.keys(written()).join()).to.not.include(secret);
    expect(readFileSync(file, 'utf8')).to.not.match(/crane|velvet|violin/);
    await kept.forget(code);
    expect([found(), found(other)]).to.deep.equal([undefined, formatTicket(two)]);
  });

  it('are good for a week, and gone from the file with the next change', async () => {
    await new KeptTickets(file).keep(code, ticket());
    const [[name = '', kept]] = Object.entries(written()) as [[string, { ticket: string; until: number }]];
    expect(kept.until - Date.now()).to.be.within(6.9 * 86_400_000, 7 * 86_400_000);
    writeFileSync(file, JSON.stringify({ [name]: { ...kept, until: Date.now() - 1 } }));
    expect(found()).to.equal(undefined);
    await new KeptTickets(file).keep(other, ticket());
    expect(Object.keys(written())).to.have.length(1).and.not.include(name);
  });

  it('are none where the file makes no sense, and it is written anew', async () => {
    await new KeptTickets(file).keep(code, ticket());
    const [name = ''] = Object.keys(written());
    for (const odd of [
      '',
      'not JSON',
      '[]',
      'null',
      '{"__proto__":{"ticket":"sendall://10.0.0.5:1/x","until":9e15}}',
      ...['sendall://10.0.0.5:1/none', 'tcp://10.0.0.5:1', 7, null].map((ticket) =>
        JSON.stringify({ [name]: { ticket, until: 9e15 } }),
      ),
      JSON.stringify({ [name]: { ticket: formatTicket(ticket()), until: 'always' } }),
      JSON.stringify({ [name]: formatTicket(ticket()) }),
    ]) {
      writeFileSync(file, odd);
      expect(found(), odd).to.equal(undefined);
      const again = ticket();
      await new KeptTickets(file).keep(code, again);
      expect(found(), odd).to.equal(formatTicket(again));
    }
  });

  it('are not taken from a file that others can read or write: they might lead elsewhere', async () => {
    await new KeptTickets(file).keep(code, ticket());
    chmodSync(file, 0o644);
    expect(thrownCode(() => found())).to.equal('usage');
    chmodSync(file, 0o602);
    expect(thrownCode(() => found())).to.equal('usage');
    rmSync(file);
    mkdirSync(file);
    expect(thrownCode(() => found())).to.equal('usage');
  });

  asRoot('are not taken from a file of somebody else', async () => {
    await new KeptTickets(file).keep(code, ticket());
    chownSync(file, 12345, 12345);
    expect(thrownCode(() => found())).to.equal('usage');
  });
});
