import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { createKey, formatTicket, parseTicket } from '../../lib/index';
import { Peers } from '../../lib/internal';
import { type Ended, eventsOf, SendallProcess } from './sendall-process';

describe('cli: peers (the built command)', () => {
  let directory: string;
  let file: string;
  const key = createKey();
  const ticket = formatTicket({ ...key, address: { kind: 'tcp', host: '192.168.1.20', port: 9000 } });
  const token = ticket.split('/').at(-1) ?? '';
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'sendall-peers-'));
    file = join(directory, 'sendall', 'peers.json');
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  function peers(
    words: readonly string[],
    { input = '', env = {} }: { input?: string; env?: NodeJS.ProcessEnv } = {},
  ): Promise<Ended> {
    const running = new SendallProcess(['peers', ...words], {
      cwd: directory,
      env: { XDG_CONFIG_HOME: directory, SENDALL_TICKET: '', ...env },
    });
    running.child.stdin?.on('error', () => undefined).end(input);
    return running.ended;
  }
  const known = async (name: string): Promise<string | undefined> => {
    const found = await new Peers(file).find(name);
    return found && formatTicket(found);
  };

  it('takes the ticket as a word, from a file, from the environment and from a pipe', async () => {
    writeFileSync(join(directory, 'ticket.txt'), `${ticket}\n`, { mode: 0o600 });
    const ways: [name: string, word: string[], how: { input?: string; env?: NodeJS.ProcessEnv }][] = [
      ['word', [ticket], {}],
      ['file', ['@ticket.txt'], {}],
      ['environment', [], { env: { SENDALL_TICKET: ticket } }],
      ['pipe', [], { input: `${ticket}\nmore` }],
    ];
    for (const [name, word, how] of ways) {
      const { code, stdout, stderr } = await peers(['add', name, ...word], how);
      expect({ code, stdout }, name).to.deep.equal({ code: 0, stdout: '' });
      expect(stderr, name).to.include(`${name}  tcp://192.168.1.20:9000`).and.not.include(token);
      expect(await known(name), name).to.equal(ticket);
    }
    expect(statSync(file).mode & 0o777).to.equal(0o600);
  });

  it('lists and forgets them, and never shows a key again', async () => {
    expect(await peers(['list'])).to.deep.equal({ code: 0, stdout: '', stderr: 'No machine has a name yet.\n' });
    const peer = { event: 'peer', name: 'nas', address: 'tcp://192.168.1.20:9000', id: key.id };
    expect(eventsOf(await peers(['add', 'nas', ticket, '--json']))).to.deep.equal([peer]);
    expect(eventsOf(await peers(['list', '--json']))).to.deep.equal([peer]);
    expect((await peers(['list', '--verbose'])).stdout).to.equal(
      `nas  tcp://192.168.1.20:9000  id ${key.id.slice(0, 8)}\n`,
    );
    expect(eventsOf(await peers(['remove', 'nas', '--json']))).to.deep.equal([{ event: 'removed', name: 'nas' }]);
    expect(await known('nas')).to.equal(undefined);
    expect((await peers(['remove', 'nas'])).stderr).to.include('There is no peer nas.');
  });

  it('knows the machine that authorize made the ticket on', async () => {
    const made = await new SendallProcess(['authorize', 'laptop', '--quiet'], {
      cwd: directory,
      env: { XDG_CONFIG_HOME: directory },
    }).ended;
    expect((await peers(['add', 'nas'], { input: made.stdout })).code).to.equal(0);
    expect((await new Peers(file).find('nas'))?.id).to.equal(parseTicket(made.stdout.trimEnd()).id);
  });

  it('refuses wrong tickets and names without repeating what was given, and remembers nothing', async () => {
    writeFileSync(join(directory, 'open.txt'), ticket, { mode: 0o644 });
    const wrong: [string[], RegExp, { input?: string; env?: NodeJS.ProcessEnv }?][] = [
      [['add'], /Missing required argument/],
      [['add', 'nas'], /standard input is no ticket/],
      [['add', 'nas'], /standard input is no ticket/, { input: token }],
      [['add', 'nas'], /SENDALL_TICKET is no ticket/, { env: { SENDALL_TICKET: token } }],
      [['add', 'nas', ticket.slice(0, -1)], /What begins with sendall:\/\/ is no ticket/],
      [['add', 'nas', `tcp://192.168.1.20/${token}`], /in place of the ticket is none/],
      // One in 64 begins with a dash, and looks like an option.
      [['add', 'nas', token], /in place of the ticket is none|looks like the token of a ticket/],
      [['add', 'nas', `-${token.slice(1)}`], /looks like the token of a ticket/],
      [['add', 'nas', `-v${token.slice(2)}`], /looks like the token of a ticket/],
      [['add', 'nas', '@missing.txt'], /There is no file missing\.txt/],
      [['add', 'nas', '@open.txt'], /Other users can read or write open\.txt/],
      [['add', '../nas', ticket], /cannot be the name/],
      [['add', ticket], /That cannot be the name/],
      [['remove', ticket], /That cannot be the name/],
      [['add', 'nas', ticket, ticket], /Too many arguments/],
      [[ticket], /Unknown command|Too many arguments/],
      [[], /No command given/],
    ];
    for (const [words, sentence, how] of wrong) {
      const { code, stdout, stderr } = await peers([...words, '--verbose'], how);
      const what = words.join(' ');
      expect({ code, stdout }, what).to.deep.equal({ code: 2, stdout: '' });
      expect(stderr, what).to.match(sentence).and.not.include(token.slice(1, 20));
    }
    expect(await new Peers(file).list()).to.deep.equal([]);
  });

  it('has help for each command, whose lines fit', async () => {
    for (const words of [['--help'], ['add', '--help'], ['list', '-h'], ['help', 'remove']]) {
      const { code, stdout } = await peers(words);
      expect(code, words.join(' ')).to.equal(0);
      expect(stdout)
        .to.match(/^Usage: sendall peers /)
        .and.match(/\n {2}\$ sendall peers /);
      for (const line of stdout.split('\n')) expect(line.length, line).to.be.at.most(100);
    }
  });
});
