import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { AuthorizedKeys, parseTicket } from '../../lib/index';
import { addressesIn, dialable, formatAddress } from '../../lib/internal';
import { type Ended, eventsOf, SendallProcess } from './sendall-process';

describe('cli: authorize (the built command)', () => {
  let directory: string;
  let file: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'sendall-authorize-'));
    file = join(directory, 'sendall', 'authorized.json');
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  const authorize = (...words: string[]): Promise<Ended> =>
    new SendallProcess(['authorize', ...words], { cwd: directory, env: { XDG_CONFIG_HOME: directory } }).ended;
  const told = (ended: Ended): unknown[] => eventsOf(ended);

  it('prints the ticket alone on stdout, and on stderr what to do with it', async () => {
    const { code, stdout, stderr } = await authorize('laptop');
    expect(code).to.equal(0);
    const ticket = parseTicket(stdout.trimEnd());
    expect(stdout).to.match(/^sendall:\/\/\S+\n$/);
    expect(stderr)
      .to.match(/^ {4}sendall peers add \w[\w.-]*$/m)
      .and.match(/^ {4}sendall peers add \w[\w.-]* '?sendall:/m)
      .and.include(stdout.trimEnd());
    const everywhere = await dialable({ kind: 'tcp', host: '::', port: 8898 });
    expect(addressesIn(ticket)).to.deep.equal(everywhere);
    const found = new AuthorizedKeys(file).find(ticket.id);
    expect(found)
      .to.include({ name: 'laptop', rights: 'write' })
      .and.not.have.any.keys('directory', 'quota', 'expires');
    expect(Buffer.from(found?.key ?? []).equals(Buffer.from(ticket.key))).to.equal(true);
    expect(statSync(file).mode & 0o777).to.equal(0o600);
    expect(statSync(join(file, '..')).mode & 0o777).to.equal(0o700);
  });

  it('proposes the name by which the other machine reaches this one', async () => {
    const { stderr } = await authorize('laptop', '--address', 'nas.example.org:9000', '--address', '192.0.2.1');
    expect(stderr).to.match(/^ {4}sendall peers add nas$/m);
  });

  it('gives the ticket with --quiet as well, and nothing else', async () => {
    const { stdout, stderr } = await authorize('laptop', '--quiet');
    expect(stderr).to.equal('');
    parseTicket(stdout.trimEnd());
  });

  it('keeps what the options say, and tells it with --json', async () => {
    mkdirSync(join(directory, 'inbox'));
    const words = [
      '--dir',
      'inbox',
      '--rights',
      'admin',
      '--quota',
      '5G',
      '--expires',
      '2200-01-31T00:00Z',
      '--address',
      '[2001:db8::5]:9000',
    ];
    const ended = await authorize('laptop', ...words, '--json');
    expect(ended.stderr).to.equal('');
    const [made] = told(ended) as [{ readonly ticket: string; readonly id: string }];
    const { id, address } = parseTicket(made.ticket);
    expect(formatAddress(address)).to.equal('tcp://[2001:db8::5]:9000');
    const kept = { name: 'laptop', rights: 'admin', directory: join(directory, 'inbox'), quota: 5 * 1024 ** 3 };
    const expires = '2200-01-31T00:00:00.000Z';
    expect(made).to.deep.equal({ event: 'authorized', ...kept, expires, id, ticket: made.ticket });
    expect(new AuthorizedKeys(file).find(id)).to.deep.include({ ...kept, expires: new Date(expires) });
    expect(told(await authorize('--list', '--json'))).to.deep.equal([{ event: 'authorization', ...kept, expires, id }]);
  });

  it('lists who may connect, and never a key', async () => {
    expect(await authorize('--list')).to.deep.equal({ code: 0, stdout: '', stderr: 'Nobody is authorized.\n' });
    const ticket = parseTicket(
      (await authorize('phone', '--rights', 'read', '--quota', '1M', '--expires', '90d')).stdout.trimEnd(),
    );
    await authorize('laptop');
    for (const words of [['--list'], ['--list', '--json'], ['--list', '--verbose']]) {
      const { code, stdout, stderr } = await authorize(...words);
      expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
      expect(stdout.split('\n')).to.have.length(3);
      for (const form of ['base64', 'base64url', 'hex'] as const)
        expect(stdout).not.to.include(Buffer.from(ticket.key).toString(form).slice(2, 12));
      expect(stdout).not.to.include('sendall://');
    }
    const { stdout } = await authorize('--list');
    expect(stdout).to.match(
      /^laptop {2}write {2}id [0-9a-f]{8}\nphone {2}read {2}1\.0 MiB {2}expires \d{4}-\d\d-\d\dT\S+Z {2}id /,
    );
    expect(stdout).to.include(`id ${ticket.id.slice(0, 8)}\n`);
  });

  it('takes a key away', async () => {
    const { id } = parseTicket((await authorize('laptop')).stdout.trimEnd());
    const keys = new AuthorizedKeys(file);
    expect(keys.find(id)?.name).to.equal('laptop');
    expect(told(await authorize('--remove', 'laptop', '--json'))).to.deep.equal([{ event: 'revoked', name: 'laptop' }]);
    expect(keys.find(id)).to.equal(undefined);
    const again = await authorize('--remove', 'laptop');
    expect(again.code).to.equal(2);
    expect(again.stderr).to.include('There is no key for laptop.');
  });

  it('says in plain words that others can read the file, and what to do', async () => {
    await authorize('laptop');
    chmodSync(file, 0o644);
    for (const words of [['--list'], ['phone'], ['--remove', 'laptop']]) {
      const { code, stdout, stderr } = await authorize(...words);
      expect({ code, stdout }).to.deep.equal({ code: 2, stdout: '' });
      expect(stderr).to.include(`hint: Run chmod 600 ${file}`);
    }
    expect(readFileSync(file, 'utf8')).to.include('laptop').and.not.include('phone');
  });

  const wrong: [string[], RegExp][] = [
    [[], /The name is missing/],
    [['../laptop'], /cannot be the name of a machine/],
    [['laptop', '--rights', 'root'], /Allowed choices are write, read, admin/],
    [['laptop', '--quota', 'much'], /A size looks like/],
    [['laptop', '--expires', '2020-01-01'], /has passed/],
    [['laptop', '--address', '0.0.0.0:8898'], /not an address that another machine can dial/],
    [['laptop', '--address', 'nas:0'], /not an address that another machine can dial/],
    [['laptop', '--address', 'unix:/run/s'], /not an address that another machine can dial/],
    [['laptop', '--dir', 'not there'], /not there does not exist\.\nhint: mkdir -m 700 'not there'/],
    [['laptop', '--list'], /a NAME too many/],
    [['laptop', '--remove', 'laptop'], /a NAME too many/],
    [['--list', '--remove', 'laptop'], /cannot be used with/],
    [['--list', '--quota', '5G'], /cannot be used with/],
  ];
  for (const [words, sentence] of wrong) {
    it(`calls "sendall authorize ${words.join(' ')}" wrong usage, and makes no key`, async () => {
      const { code, stdout, stderr } = await authorize(...words);
      expect({ code, stdout }).to.deep.equal({ code: 2, stdout: '' });
      expect(stderr).to.match(sentence);
      expect(existsSync(file)).to.equal(false);
    });
  }

  it('has help whose lines fit, with examples', async () => {
    const { code, stdout } = await authorize('--help');
    expect(code).to.equal(0);
    expect([...stdout.matchAll(/^ {2}(--[a-z-]+)/gm)].map((match) => match[1]).slice(0, 7)).to.deep.equal([
      '--dir',
      '--rights',
      '--quota',
      '--expires',
      '--address',
      '--list',
      '--remove',
    ]);
    expect(stdout).to.match(/\n {2}\$ sendall authorize /);
    for (const line of stdout.split('\n')) expect(line.length, line).to.be.at.most(100);
  });
});
