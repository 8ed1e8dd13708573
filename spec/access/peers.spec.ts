import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { expect } from 'chai';
import { Peers } from '../../lib/access/peers';
import { createKey, formatTicket, type Ticket } from '../../lib/net/ticket';
import { failureOf } from '../store/delivery';

const ticketFor = (host: string): Ticket => ({ ...createKey(), address: { kind: 'tcp', host, port: 8898 } });

describe('lib/access/peers', () => {
  let directory: string;
  let file: string;
  let peers: Peers;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'sendall-peers-'));
    file = join(directory, 'peers.json');
    peers = new Peers(file);
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  it('remembers tickets by name, for the user alone', async () => {
    const [nas, home] = [ticketFor('192.168.1.20'), ticketFor('2001:db8::5')];
    await peers.add('nas', nas);
    await peers.add('home', home);
    const found = await new Peers(file).find('home');
    expect(found && formatTicket(found)).to.equal(formatTicket(home));
    expect(await peers.find('other')).to.equal(undefined);
    expect((await peers.list()).map(({ name, ticket }) => [name, ticket.id])).to.deep.equal([
      ['home', home.id],
      ['nas', nas.id],
    ]);
    expect(JSON.parse(readFileSync(file, 'utf8'))).to.deep.equal({ nas: formatTicket(nas), home: formatTicket(home) });
    expect(statSync(file).mode & 0o777).to.equal(0o600);
  });

  it('knows nobody where there is no file', async () => {
    expect(await peers.list()).to.deep.equal([]);
    expect(await peers.find('nas')).to.equal(undefined);
  });

  it('forgets whom it is told to forget, and nobody else', async () => {
    await peers.add('nas', ticketFor('10.0.0.1'));
    await peers.add('home', ticketFor('10.0.0.2'));
    await peers.remove('nas');
    expect((await peers.list()).map(({ name }) => name)).to.deep.equal(['home']);
    expect(await failureOf(peers.remove('nas'))).to.include({ code: 'usage' });
  });

  it('refuses a name that is taken, and keeps the ticket that it had', async () => {
    const first = ticketFor('10.0.0.1');
    await peers.add('nas', first);
    expect((await failureOf(peers.add('nas', ticketFor('10.0.0.2')))).code).to.equal('usage');
    expect((await peers.find('nas'))?.id).to.equal(first.id);
  });

  it('refuses names that could be paths or addresses, and takes those of JavaScript as any other', async () => {
    for (const name of ['a/b', './nas', 'unix:x', 'tcp://x', 'x:1', '-', '@nas', '']) {
      expect((await failureOf(peers.add(name, ticketFor('10.0.0.1')))).code, name).to.equal('usage');
      expect(await peers.find(name), name).to.equal(undefined);
    }
    for (const name of ['__proto__', 'constructor', 'toString']) {
      expect(await peers.find(name), name).to.equal(undefined);
      const ticket = ticketFor('10.0.0.1');
      await peers.add(name, ticket);
      expect((await peers.find(name))?.id, name).to.equal(ticket.id);
    }
  });

  it('refuses a file that others can read, or that is damaged, without quoting a ticket', async () => {
    const ticket = ticketFor('10.0.0.1');
    await peers.add('nas', ticket);
    const whole = readFileSync(file, 'utf8');
    const token = formatTicket(ticket).split('/').at(-1) ?? '';
    for (const text of [
      '',
      whole.slice(0, -3),
      '[]',
      whole.replace('sendall:', 'tcp:'),
      whole.replace('nas', '../nas'),
      '{"nas": 5}',
      '{"nas": {"groups": []}}',
      whole.replace(/"(sendall:.*)"/, '{"ticket": "$1", "groups": ["../family"]}'),
      whole.replace(token, token.slice(1)),
    ]) {
      writeFileSync(file, text);
      const failure = await failureOf(peers.find('nas'));
      expect(failure.message, text).to.include('is damaged');
      expect(inspect(failure, { depth: 5 }), text).not.to.include(token.slice(1, 12));
      expect((await failureOf(peers.add('home', ticket))).code).to.equal('usage');
      expect(readFileSync(file, 'utf8')).to.equal(text);
    }
    writeFileSync(file, whole);
    chmodSync(file, 0o640);
    expect((await failureOf(peers.find('nas'))).hint).to.equal(`Run chmod 600 ${file}`);
  });

  it('keeps who is in which group, as text where nobody is in any', async () => {
    const [nas, home] = [ticketFor('192.168.1.20'), ticketFor('192.168.1.21')];
    await peers.add('nas', nas);
    await peers.add('home', home);
    await peers.join('family', ['nas', 'home']);
    await peers.join('family', ['nas']);
    await peers.join('all', ['nas']);
    expect(await peers.groups()).to.deep.equal(['all', 'family']);
    expect((await peers.inGroup('family')).map(({ name }) => name)).to.deep.equal(['home', 'nas']);
    expect((await new Peers(file).list())[1]?.groups).to.deep.equal(['all', 'family']);
    expect((await failureOf(peers.join('family', ['home', 'nobody']))).message).to.equal('There is no peer nobody.');
    expect((await failureOf(peers.leave('all', ['home']))).message).to.equal('home is not in all.');
    await peers.leave('all', ['nas']);
    await peers.leave('family', ['nas', 'home']);
    expect(await peers.groups()).to.deep.equal([]);
    expect(JSON.parse(readFileSync(file, 'utf8'))).to.deep.equal({ nas: formatTicket(nas), home: formatTicket(home) });
  });
});
