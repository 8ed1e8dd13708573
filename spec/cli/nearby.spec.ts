import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { eventsOf, SendallProcess } from './sendall-process';
import { SessionRun } from './session-run';
import { skipTest } from '../skip-test';

/**
 * A network of its own with one Ethernet, IPv4 and IPv6: says so once it is there, and goes with its standard input.
 */
const network = `
  ip link set lo up && echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad && ip link add lan0 type veth peer name lan1 && ip addr add 10.9.0.1/24 dev lan0 &&
  echo 1 > /proc/sys/net/ipv6/conf/lan1/disable_ipv6 && ip link set lan0 up multicast on && ip link set lan1 up && ip route add default dev lan0 && echo ready && cat`;

/** A network of its own, in which a link has a link-local address of IPv6 at once, and no other. */
const linkLocal = 'ip link set lo up && echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad && echo ready && cat';

/** Somebody who shows a code with the same number and other words; says who has come. */
const namesake = `
  const [lib, number, host] = process.argv.slice(1);
  const { OpenCode } = require(lib + '/codes/open-code');
  const { Connection } = require(lib + '/net/connection');
  const { listen } = require(lib + '/net/socket');
  const shown = new OpenCode('receiver', { number, words: ['abandon', 'zoo'] });
  listen({ kind: 'tcp', host: '::', port: 0 }, ({ stream, peer }) =>
    shown.answer(new Connection(stream, peer), () => 0).catch((error) => console.log('came: ' + error.message)),
  ).then(({ address }) => require(lib + '/net/lan').announceListener(address, [{ ...address, host }], number))
    .then(() => console.log('lying'));`;

/** Announces lies, and asks what the others say: their whole answer is printed. */
const liar = `
  const [number, program] = process.argv.slice(1);
  const dgram = require('dgram');
  const packet = require(program);
  const service = '_sendall._tcp.local';
  // Somebody who closes at once, and who answers with noise.
  const server = require('net').createServer((socket) => socket.on('error', () => 0).end('HTTP/1.1 400')).listen(0, '10.9.0.1');
  const answer = (name, port, txt) => packet.encode({ type: 'response', answers: [{ name: service, type: 'PTR', data: name }],
    additionals: [{ name, type: 'SRV', data: { port, target: 'x.local' } }, { name, type: 'TXT', data: txt }, { name: 'x.local', type: 'A', data: '10.9.0.1' }] });
  const socket = dgram.createSocket({ type: 'udp4', reuseAddr: true });
  let lies = false; // what others say comes first
  socket.on('message', (bytes, from) => {
    if (!lies) return;
    let query; try { query = packet.decode(bytes); } catch { return; }
    if (query.type !== 'query' || from.port === 5353) return;
    const { port } = server.address();
    for (const each of [
      Buffer.from('noise'), Buffer.alloc(9000, 255),
      answer('evil\\u001b[2J.' + service, port, ['v=1', 'number=\\u001b[31m' + number]),
      answer('a.' + service, port, ['v=1', 'number=' + number]),
      answer('b.' + service, 1, ['v=1', 'number=' + number]),
      answer('c.' + service, 0, ['v=1', 'number=' + number]),
    ]) socket.send(each, from.port, from.address);
  });
  socket.bind(5353, () => {
    socket.addMembership('224.0.0.251', '10.9.0.1');
    const ask = dgram.createSocket('udp4');
    ask.on('message', (bytes) => { console.log('answer ' + JSON.stringify(bytes.toString('latin1'))); ask.close(); lies = true; console.log('lying'); });
    ask.bind(0, '10.9.0.1', () => {
      ask.setMulticastInterface('10.9.0.1');
      ask.send(packet.encode({ type: 'query', questions: [{ name: service, type: 'PTR' }] }), 5353, '224.0.0.251');
    });
  });`;

/**
 * Asks from an address of no network of this machine, then from one that is, with many questions; prints who was
 * answered.
 */
const stranger = `
  const packet = require(process.argv[1]);
  const dgram = require('dgram');
  const service = '_sendall._tcp.local';
  const query = packet.encode({ type: 'query', id: 7, questions: [
    ...Array.from({ length: 20 }, (_, at) => ({ name: ('x' + at).repeat(20) + '.local', type: 'PTR' })),
    { name: service.toUpperCase(), type: 'PTR' },
  ] });
  const ask = async (address) => {
    const socket = dgram.createSocket('udp4');
    socket.on('message', (bytes) => {
      const { id, questions } = packet.decode(bytes);
      console.log(JSON.stringify({ address, id, questions, longer: bytes.length > query.length }));
      if (address === '10.9.0.1') console.log('taken');
    });
    await new Promise((resolve) => socket.bind(0, address, resolve));
    return () => socket.send(query, 5353, '10.9.0.1');
  };
  // Both are answered in the order in which they ask, by way of loopback.
  Promise.all(['192.0.2.5', '10.9.0.1'].map(ask)).then((all) => all.forEach((each) => each()));`;

describe('cli: who is found on the network (the built command)', function () {
  this.timeout(60_000);
  let holder: ChildProcess;
  let run: SessionRun;
  const started: SendallProcess[] = [];
  const scripts: ChildProcess[] = [];
  const holders: ChildProcess[] = [];

  beforeEach(async function () {
    if (spawnSync('unshare', ['--net', 'true']).status !== 0) skipTest(this, 'no networks of its own here');
    const there = await hold(network);
    if (!there) skipTest(this, 'no networks of its own here');
    holder = there;
    run = new SessionRun({ 'letter.txt': 'hello\n' });
  });
  afterEach(async () => {
    for (const each of scripts.splice(0)) each.kill('SIGKILL');
    for (const each of started.splice(0)) {
      each.child.kill('SIGKILL');
      await each.ended;
    }
    for (const each of holders.splice(0)) {
      each.stdin?.end();
      each.kill();
    }
    await run.end();
  });

  /** A process in a network of its own, once `words` have made that; undefined where they cannot. */
  async function hold(words: string): Promise<ChildProcess | undefined> {
    const child = spawn('unshare', ['--net', 'sh', '-c', words], { stdio: ['pipe', 'pipe', 'inherit'] });
    holders.push(child);
    return new Promise((resolve) => {
      child.stdout.once('data', () => resolve(child));
      child.once('exit', () => resolve(undefined));
    });
  }
  const inside = (of = holder): string[] => ['nsenter', `--target=${String(of.pid)}`, '--net'];
  function start(words: readonly string[], home: string, of = holder): SendallProcess {
    const process = new SendallProcess(words, {
      cwd: run.directory,
      under: inside(of),
      env: { XDG_CONFIG_HOME: run.at(home), SENDALL_TICKET: '' },
    });
    started.push(process);
    return process;
  }
  async function script(text: string, ...words: readonly string[]): Promise<ChildProcess & { said: string }> {
    const [program = '', ...before] = [...inside(), process.execPath, '-e', text, ...words];
    const child = Object.assign(spawn(program, before, { stdio: ['ignore', 'pipe', 'inherit'] }), { said: '' });
    scripts.push(child);
    await new Promise<void>((resolve) => {
      child.stdout?.on('data', (bytes: Buffer) => {
        child.said += bytes.toString();
        if (/lying|taken/.test(child.said)) resolve();
      });
    });
    return child;
  }
  const codeOf = async (receiver: SendallProcess): Promise<{ code: string; number: string; words: string[] }> => {
    const [, code = ''] = await receiver.says(/FILE (\d{4}-[a-z]+-[a-z]+)\n/);
    const [number = '', ...words] = code.split('-');
    return { code, number, words };
  };

  it('a code leads to who shows it, past whoever lies; what is announced has no name and no word in it', async () => {
    const receiver = start(['receive', 'in', '--code', '--once'], 'receiver');
    const { code, number, words } = await codeOf(receiver);
    const wrong = await start(['send', 'letter.txt', `${number}-zoo-zoo`], 'sender').ended;
    expect(wrong.stderr).to.include('The other side has another code.');
    const lying = await script(liar, number, require.resolve('dns-packet'));
    expect(lying.said).to.match(/answer .*number=\d{4}/);
    for (const secret of [...words, hostname()]) expect(lying.said).to.not.include(secret);
    const nearby = await start(['nearby', '--json'], 'sender').ended;
    expect(nearby.code).to.equal(0);
    const events = eventsOf(nearby) as unknown as { event: string; addresses: string[]; number?: string }[];
    expect(events.map((event) => event.event)).to.include('nearby');
    const found = events.filter(({ addresses }) => addresses.includes('tcp://10.9.0.1:8898'));
    expect(
      found.map((each) => each.number),
      'once, though it is heard over IPv4 and IPv6',
    ).to.deep.equal([number]);
    expect(nearby.stdout).to.not.include('\\u001b').and.not.include(':0"');
    const sent = await start(['send', 'letter.txt', code], 'sender').ended;
    expect(sent.code, sent.stderr).to.equal(0);
    const received = await receiver.ended;
    expect(received.code).to.equal(0);
    expect(received.stderr.match(/\d tr(?:y is|ies are) left/g), 'one guess, in two ways').to.deep.equal([
      '2 tries are left',
    ]);
    expect(run.read('letter.txt').toString()).to.equal('hello\n');
  });

  it('over IPv6 alone, by link-local addresses, past another one who shows the same number', async function () {
    const [near, far] = [await hold(linkLocal), await hold(linkLocal)];
    const cable = `ip link add lan0 type veth peer name far-0 netns ${String(far?.pid)} && ip link set lan0 up`;
    // Until another machine could have said that it has this address, nobody may use it.
    const settled = `until ip -6 address show dev far-0 scope link -tentative | grep -q fe80; do sleep 0.05; done`;
    const pulled = spawnSync(
      'sh',
      [
        '-c',
        `nsenter --target=${String(near?.pid)} --net sh -c '${cable}' && ${inside(far).join(' ')} sh -c 'ip link set far-0 up && ${settled}'`,
      ],
      { timeout: 10_000 },
    );
    if (!near || !far || pulled.status !== 0) return skipTest(this, 'no networks of its own here');
    holder = near;
    const receiver = start(['receive', 'in', '--code', '--once'], 'receiver');
    const { code, number } = await codeOf(receiver);
    const [, host = ''] = await receiver.says(/@\[(fe80::[0-9a-f:]+)\]/);
    const other = await script(namesake, join(__dirname, '..', '..', 'dist', 'lib'), number, host);
    const nearby = await start(['nearby', '--json'], 'sender', far).ended;
    const events = eventsOf(nearby) as unknown as { addresses: string[]; number?: string }[];
    expect(events.map((event) => event.number)).to.deep.equal([number, number]);
    expect(events.map(({ addresses }) => addresses[0])).to.include(`tcp://[${host}%far-0]:8898`);
    const sent = await start(['send', 'letter.txt', code], 'sender', far).ended;
    expect(sent.code, sent.stderr).to.equal(0);
    expect((await receiver.ended).code).to.equal(0);
    expect(run.read('letter.txt').toString()).to.equal('hello\n');
    expect(other.said.match(/came: .*/g) ?? [], 'one guess at most').to.have.length.below(2);
  });

  it('only who is on this network is answered, and hears no question but the one of our service', async () => {
    const routed = spawnSync('nsenter', [
      ...inside().slice(1),
      'ip',
      'route',
      'add',
      'local',
      '192.0.2.0/24',
      'dev',
      'lo',
    ]);
    expect(routed.status).to.equal(0);
    const receiver = start(['receive', 'in', '--announce'], 'receiver');
    await receiver.says(/sendall:\/\/\S+/);
    const { said } = await script(stranger, require.resolve('dns-packet'));
    const answers = said.split('\n').filter((line) => line.startsWith('{'));
    expect(answers.map((line) => JSON.parse(line) as unknown)).to.deep.equal([
      {
        address: '10.9.0.1',
        id: 7,
        questions: [{ name: '_sendall._tcp.local', type: 'PTR', class: 'IN' }],
        longer: false,
      },
    ]);
  });

  it('on a machine without another network, too', async function () {
    const alone = await hold('ip link set lo up multicast on && ip route add 224.0.0.0/4 dev lo && echo ready && cat');
    if (!alone) return skipTest(this, 'no networks of its own here');
    holder = alone;
    const receiver = start(['receive', 'in', '--code', '--once'], 'receiver');
    const { code } = await codeOf(receiver);
    const sent = await start(['send', 'letter.txt', code], 'sender').ended;
    expect(sent.code, sent.stderr).to.equal(0);
    expect((await receiver.ended).code).to.equal(0);
  });

  it('nobody is found: it is said what to type and to open; where another program has the port, too', async () => {
    await script(
      "require('dgram').createSocket('udp6').bind(5353, () => console.log('taken')); setInterval(() => 0, 1000);",
    );
    const receiver = start(['receive', 'in', '--announce'], 'receiver');
    await receiver.says(/cannot be found on the network/);
    const sent = await start(['send', 'letter.txt', '4821-crane-velvet'], 'sender').ended;
    expect(sent).to.include({ code: 3, stdout: '' });
    expect(sent.stderr)
      .to.match(/4821\./)
      .and.match(/port 8898/)
      .and.not.match(/crane-velvet\.|Nobody.*crane/);
    const ticket = (await receiver.says(/sendall:\/\/\S+/))[0];
    expect((await start(['send', 'letter.txt', ticket], 'sender').ended).code, 'the receiver runs on').to.equal(0);
  });
});
