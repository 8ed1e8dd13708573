import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { hostname } from 'node:os';
import { expect } from 'chai';
import { eventsOf, SendallProcess } from './sendall-process';
import { SessionRun } from './session-run';

/** A network of its own with one Ethernet: says so once it is there, and goes with its standard input. */
const network = `
  ip link set lo up && ip link add lan0 type veth peer name lan1 && ip addr add 10.9.0.1/24 dev lan0 &&
  ip link set lan0 up multicast on && ip link set lan1 up && ip route add default dev lan0 && echo ready && cat`;

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
    ask.on('message', (bytes) => { console.log('answer ' + JSON.stringify(bytes.toString('latin1'))); ask.close(); });
    ask.bind(0, '10.9.0.1', () => {
      ask.setMulticastInterface('10.9.0.1');
      ask.send(packet.encode({ type: 'query', questions: [{ name: service, type: 'PTR' }] }), 5353, '224.0.0.251', () =>
        setTimeout(() => { lies = true; console.log('lying'); }, 200));
    });
  });`;

describe('cli: who is found on the network (the built command)', function () {
  this.timeout(60_000);
  let holder: ChildProcess;
  let run: SessionRun;
  const started: SendallProcess[] = [];

  beforeEach(async function () {
    if (spawnSync('unshare', ['--net', 'true']).status !== 0) this.skip();
    holder = spawn('unshare', ['--net', 'sh', '-c', network], { stdio: ['pipe', 'pipe', 'inherit'] });
    const there = await new Promise<boolean>((resolve) => {
      holder.stdout?.once('data', () => resolve(true));
      holder.once('exit', () => resolve(false));
    });
    if (!there) this.skip();
    run = new SessionRun({ 'letter.txt': 'hello\n' });
  });
  afterEach(async () => {
    for (const each of started.splice(0)) {
      each.child.kill('SIGKILL');
      await each.ended;
    }
    holder.stdin?.end();
    holder.kill();
    await run.end();
  });

  const inside = (): string[] => ['nsenter', `--target=${String(holder.pid)}`, '--net'];
  function start(words: readonly string[], home: string): SendallProcess {
    const process = new SendallProcess(words, {
      cwd: run.directory,
      under: inside(),
      env: { XDG_CONFIG_HOME: run.at(home), SENDALL_TICKET: '' },
    });
    started.push(process);
    return process;
  }
  async function script(text: string, ...words: readonly string[]): Promise<ChildProcess & { said: string }> {
    const [program = '', ...before] = [...inside(), process.execPath, '-e', text, ...words];
    const child = Object.assign(spawn(program, before, { stdio: ['ignore', 'pipe', 'inherit'] }), { said: '' });
    await new Promise<void>((resolve) => {
      child.stdout?.on('data', (bytes: Buffer) => {
        child.said += bytes.toString();
        if (/lying|taken/.test(child.said)) resolve();
      });
    });
    return child;
  }

  it('a code leads to who shows it, past whoever lies; what is announced has no name and no word in it', async () => {
    const receiver = start(['receive', 'in', '--code', '--once'], 'receiver');
    const [code, number = '', ...words] = await receiver
      .says(/FILE (\d{4})-([a-z]+)-([a-z]+)\n/)
      .then(([all, ...found]) => [all.trim().replace('FILE ', ''), ...found]);
    const lying = await script(liar, number, require.resolve('dns-packet'));
    try {
      expect(lying.said).to.match(/answer .*number=\d{4}/);
      for (const secret of [...words, hostname()]) expect(lying.said).to.not.include(secret);
      const nearby = await start(['nearby', '--json'], 'sender').ended;
      expect(nearby.code).to.equal(0);
      const events = eventsOf(nearby) as unknown as { event: string; addresses: string[]; number?: string }[];
      expect(events.map((event) => event.event)).to.include('nearby');
      expect(events.find(({ addresses }) => addresses.includes('tcp://10.9.0.1:8898'))?.number).to.equal(number);
      expect(nearby.stdout).to.not.include('\\u001b').and.not.include(':0"');
      const sent = await start(['send', 'letter.txt', code ?? ''], 'sender').ended;
      expect(sent.code, sent.stderr).to.equal(0);
      expect((await receiver.ended).code).to.equal(0);
      expect(run.read('letter.txt').toString()).to.equal('hello\n');
    } finally {
      lying.kill('SIGKILL');
    }
  });

  it('nobody is found: it is said what to type and to open; where another program has the port, too', async () => {
    const taken = await script(
      "require('dgram').createSocket('udp4').bind(5353, () => console.log('taken')); setInterval(() => 0, 1000);",
    );
    try {
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
    } finally {
      taken.kill('SIGKILL');
    }
  });
});
