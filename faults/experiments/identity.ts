import { readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import net, { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import tls from 'node:tls';
import { setTimeout as sleep } from 'node:timers/promises';
import { find } from '../../bench/command';
import { changePrivateFile } from '../../lib/access/private-file';
import { createKey, formatTicket, parseTicket } from '../../lib/index';
import type { Ended } from '../../spec/cli/sendall-process';
import { endOf, Wiretap } from '../../spec/net/session-port';
import type { Experiment, Outcome, Surroundings } from '../experiment';
import { KeyAttacks, keySabotages } from '../key-attacks';
import { Served } from '../served';
import { makeCertificates } from '../../spec/net/certificates';

/** Stands in the file that is sent: whoever reads it without the key has broken in. */
const secret = 'nobody else may read this';
const refused = 3;

/** A machine in the middle: it takes connections, and remembers what is said to it. */
interface Middle {
  readonly port: number;
  readonly heard: () => string;
  close(): void;
}

class IdentityTrial {
  tries = 0;
  readonly broken: string[] = [];

  constructor(
    private readonly served: Served,
    private readonly env: NodeJS.ProcessEnv,
  ) {}

  /** Sends the secret to `ticket`, which must end with `code`, and without anything received under that name. */
  private async mustFail(what: string, ticket: string, code = refused, env: NodeJS.ProcessEnv = {}): Promise<Ended> {
    const name = `try-${String(this.tries++)}`;
    const ended = await this.served.run(['send', 'secret', ticket, '--name', name, '--retry-for', '0s'], 30_000, env);
    if (ended.code !== code)
      this.broken.push(`${what}: exit code ${String(ended.code)} and not ${String(code)}: ${ended.stderr}`);
    if (this.served.received(name)) this.broken.push(`${what}: it was received`);
    return ended;
  }

  async wrongKeys(): Promise<void> {
    const good = parseTicket(this.served.ticket);
    const said = new Set<string>();
    for (const [what, key] of [
      ['a wrong key', { id: good.id, key: createKey().key }],
      ['an id that nobody knows', createKey()],
    ] as const) {
      const tap = await Wiretap.before(this.served.port);
      await this.mustFail(what, formatTicket({ ...key, address: tap.address }));
      said.add(Buffer.concat(tap.toClient).toString('hex'));
      await tap.close();
    }
    if (said.size !== 1)
      this.broken.push(
        `who does not know an id is told other bytes than who does not know its key: ${[...said].join(' and ')}`,
      );
  }

  /** A lasting key that has run out, one that was taken away, and one that may not send. */
  async lastingKeys(): Promise<void> {
    const { served, env } = this;
    const authorize = async (name: string, ...words: readonly string[]): Promise<string> => {
      const { stdout } = await served.run(
        ['authorize', name, '--address', `127.0.0.1:${String(served.port)}`, '--quiet', ...words],
        30_000,
        env,
      );
      return stdout.trim();
    };
    const [expired, removed, reading] = [
      await authorize('expired', '--expires', '90d'),
      await authorize('removed'),
      await authorize('reading', '--rights', 'read'),
    ];
    const file = join(env['XDG_CONFIG_HOME'] ?? '', 'sendall', 'authorized.json');
    // As a command changes it: other keys are made at the same time.
    await changePrivateFile(file, (text = '') => text.replace(/("expires": *)"[^"]*"/, '$1"2020-01-01T00:00:00.000Z"'));
    await served.run(['authorize', '--remove', 'removed'], 30_000, env);
    for (const [what, ticket] of Object.entries({
      'a key that has expired': expired,
      'a key that was taken away': removed,
      'a key that may only read': reading,
    }))
      await this.mustFail(what, ticket);
  }

  /** Somebody who answers with a certificate that the system of the sender trusts, or with another key. */
  async machineInTheMiddle(): Promise<void> {
    const place = this.served.at('certificates');
    await makeCertificates(place);
    const certificate = {
      cert: await readFile(join(place, 'leaf.pem')),
      key: await readFile(join(place, 'leaf.key')),
      minVersion: 'TLSv1.3',
    } as const;
    const trusting = { NODE_EXTRA_CA_CERTS: join(place, 'ca.pem') };
    const machines: readonly (readonly [string, tls.TlsOptions, NodeJS.ProcessEnv])[] = [
      ['a certificate that the system trusts', certificate, trusting],
      ['a certificate that nobody checks', certificate, { NODE_TLS_REJECT_UNAUTHORIZED: '0' }],
      [
        'another key',
        { minVersion: 'TLSv1.3', ciphers: 'TLS_AES_128_GCM_SHA256', pskCallback: () => createKey().key },
        {},
      ],
    ];
    for (const [what, options, env] of machines) {
      const middle = await listenTls(options);
      await this.mustFail(`a machine in the middle with ${what}`, this.ticketTo(middle.port), refused, env);
      if (middle.heard() !== '')
        this.broken.push(`a machine in the middle with ${what} was told ${String(middle.heard().length)} bytes`);
      middle.close();
    }
  }

  /** Somebody who speaks the plain wire to a sender that holds a ticket. */
  async downgrade(): Promise<void> {
    for (const says of ['', '{"type":"receipt"}']) {
      const middle = await listenPlain(says);
      await this.mustFail('a receiver that speaks the plain wire', this.ticketTo(middle.port));
      if (middle.heard().includes(secret)) this.broken.push('a sender with a ticket spoke the plain wire');
      middle.close();
    }
  }

  /** What was recorded of a whole session, said again. */
  async replay(): Promise<void> {
    const { served } = this;
    const tap = await Wiretap.before(served.port);
    const ticket = formatTicket({ ...parseTicket(served.ticket), address: tap.address });
    this.tries++;
    const { code, stderr } = await served.run(['send', 'secret', ticket, '--name', 'recorded', '--connections', '1']);
    if (code !== 0 || served.received('recorded') === undefined) throw new Error(`Nothing was recorded: ${stderr}`);
    if (Buffer.concat(tap.toServer).includes(secret)) this.broken.push('a session can be read on its way');
    await tap.close();
    await served.removeReceived('recorded');
    const again = net.connect(served.port, '127.0.0.1');
    const over = endOf(again);
    for (const piece of tap.toServer) again.write(piece);
    await Promise.race([over, sleep(15_000)]);
    again.destroy();
    if (served.received('recorded') !== undefined) this.broken.push('recorded bytes made a second session');
  }

  /** The ticket is in the words of the command, and must be gone from the list of processes before anything is sent. */
  async listOfProcesses(): Promise<void> {
    const { served } = this;
    this.tries++;
    const sender = served.start(['send', 'large', served.ticket, '--name', 'watched', '--limit', '2M', '--json']);
    await sender.says(/"event":"started"/);
    const shown = readFileSync(`/proc/${String(sender.child.pid)}/cmdline`, 'latin1');
    if (shown.includes(served.ticket.slice(-30))) this.broken.push('the list of processes shows the ticket');
    sender.child.kill('SIGKILL');
    await sender.ended;
  }

  private ticketTo(port: number): string {
    return formatTicket({ ...parseTicket(this.served.ticket), address: { kind: 'tcp', host: '127.0.0.1', port } });
  }
}

async function listenTls(options: tls.TlsOptions): Promise<Middle> {
  const heard: Buffer[] = [];
  const server = tls.createServer(options, (socket) =>
    socket.on('error', () => undefined).on('data', (bytes: Buffer) => heard.push(bytes)),
  );
  server.on('tlsClientError', () => undefined);
  return listening(server, heard);
}

function listenPlain(says: string): Promise<Middle> {
  const heard: Buffer[] = [];
  const server = net.createServer((socket) => {
    socket
      .on('error', () => undefined)
      .on('data', (bytes: Buffer) => {
        heard.push(bytes);
        socket.end(says);
      });
  });
  return listening(server, heard);
}

async function listening(server: net.Server, heard: readonly Buffer[]): Promise<Middle> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const heardText = (): string => Buffer.concat(heard).toString('latin1');
  return { port: (server.address() as AddressInfo).port, heard: heardText, close: () => void server.close() };
}

async function run({ build, directory, random }: Surroundings): Promise<Outcome> {
  const env = { XDG_CONFIG_HOME: join(directory, 'config') };
  const served = await Served.open({ build, directory }, [], env);
  try {
    await writeFile(served.at('secret'), secret);
    await writeFile(served.at('large'), Buffer.alloc(4 * 2 ** 20, 1));
    const trial = new IdentityTrial(served, env);
    const attacks = new KeyAttacks(served, env.XDG_CONFIG_HOME);
    await attacks.prepare();
    await Promise.all([
      attacks.all(),
      trial.wrongKeys(),
      trial.lastingKeys(),
      trial.machineInTheMiddle(),
      trial.downgrade(),
      trial.replay(),
      trial.listOfProcesses(),
    ]);
    const others = await served.refusesOthers();
    if (others !== undefined) trial.broken.push(others);
    const broken = [...trial.broken, ...attacks.broken];
    return {
      tries: trial.tries + attacks.tries,
      broken: broken.map((sentence) => `seed ${String(random.seed)}: ${sentence}`),
    };
  } finally {
    await served.kill();
  }
}

export const identity: Experiment = {
  name: 'identity',
  promise:
    'Nobody without the key sends, receives or reads anything, a ticket is not shown to others, and who has a key stays in its room.',
  missing: () =>
    find('openssl') === undefined
      ? 'There is no openssl command to make certificates.'
      : process.platform === 'linux'
        ? undefined
        : 'Only Linux shows the words of a command in /proc.',
  run,
  sabotages: [
    {
      name: 'a certificate is as good as the key',
      edits: [
        {
          file: 'lib/net/tls.js',
          from: "checkServerIdentity: () => new Error('A certificate was shown instead of the key.')",
          to: 'checkServerIdentity: () => undefined',
        },
        { file: 'lib/net/tls.js', from: '    ca: [],\n', to: '' },
        { file: 'lib/net/tls.js', from: "ciphers: 'TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256',", to: '' },
        {
          file: 'lib/net/tls.js',
          from: 'return socket.isSessionReused() && socket.getPeerX509Certificate() === undefined;',
          to: 'return true;',
        },
      ],
    },
    {
      name: 'an unknown id is told so',
      edits: [
        {
          file: 'lib/net/tls.js',
          from: 'return key ?? (0, node_crypto_1.randomBytes)(keyLength);',
          to: 'return key ?? null;',
        },
      ],
    },
    {
      name: 'a key that has expired opens',
      edits: [{ file: 'lib/access/authorized.js', from: 'found.expires.getTime() <= Date.now()', to: 'false' }],
    },
    {
      name: 'the ticket stays in the list of processes',
      edits: [
        { file: 'cli/hide-tickets.js', from: 'if (words.some((word, at) => word !== argv[at]))', to: 'if (false)' },
      ],
    },
    ...keySabotages,
  ],
};
