// What holders of keys and other users of the machine do to get at what is not theirs: plant what looks like snapshots,
// ask for what lies elsewhere, and keep others waiting. Each was done once to a build of sendall, and worked.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AuthorizedKeys, encodeFrame, formatTicket, parseTicket, type WantedAuthorization } from '../lib/index';
import { ticketOf } from '../spec/cli/session-run';
import { noise } from '../spec/session/pair';
import { newSession, RawSession, sha256 } from '../spec/session/raw-session';
import { encoded, madeSnapshot } from '../spec/snapshot/made-snapshot';
import type { Edit, Sabotage } from './build';
import type { Served } from './served';

const good = 'what was really backed up';
const first = '2026-11-20T101233Z';
const time = new Date('2026-11-20T10:12:33Z');
const nanoseconds = `${String(time.getTime())}000000`;
/** Dated before the next backup, so that no rule for the future keeps anything out; and far beyond it. */
const planted = ['2026-11-22T101233Z', '2026-11-23T101233Z', '2090-01-01T000000Z', '2090-01-02T000000Z'];
const nobody = 65_534;
/** Someone who was not kept waiting is greeted within this time, in ms, also on a busy machine. */
const soon = 3_000;

export class KeyAttacks {
  tries = 0;
  readonly broken: string[] = [];
  private readonly authorized: AuthorizedKeys;

  constructor(
    private readonly served: Served,
    configuration: string,
  ) {
    this.authorized = new AuthorizedKeys(join(configuration, 'sendall', 'authorized.json'));
  }

  /** What there is to attack: a source, backups that this machine made of it, and something outside. */
  async prepare(): Promise<void> {
    const { served } = this;
    mkdirSync(served.at('box'), { mode: 0o755 });
    mkdirSync(served.at('home'));
    writeFileSync(served.at('home', 'a'), good);
    chmodSync(served.at('home', 'a'), 0o644);
    utimesSync(served.at('home', 'a'), time, time);
    writeFileSync(served.at('db.dump'), noise(100_000, 7));
    for (const name of ['laptop', 'desk'])
      await madeSnapshot(served.at('in'), { name, id: first, number: 1 }, { 'home/a': good });
    await madeSnapshot(
      served.at('in'),
      { name: 'many', id: first, number: 1 },
      Object.fromEntries(
        Array.from({ length: 2_000 }, (_, at) => [`${'long/'.repeat(20)}${String(at)}`, { missing: 'source-changed' }]),
      ),
    );
  }

  /** All of them at once, as far as they do not disturb each other. */
  async all(): Promise<void> {
    const attacks = {
      'reading outside': this.readingOutside(),
      'planted snapshots': this.plantedSnapshots(),
      'a planted number': this.plantedNumbers(),
      'a silent peer': this.silentListener(),
      patterns: this.patterns(),
    };
    const ended = Object.entries(attacks).map(([what, attack]) =>
      // Who is not answered any more was kept from it.
      attack.catch((error: unknown) => {
        const cause = error instanceof Error && error.cause instanceof Error ? ` (${error.cause.message})` : '';
        this.broken.push(`${what}: it was cut short: ${String(error)}${cause}`);
      }),
    );
    await Promise.all(ended);
  }

  private async key(wanted: WantedAuthorization): Promise<string> {
    const { address } = parseTicket(this.served.ticket);
    return formatTicket({ ...(await this.authorized.authorize(wanted)), address });
  }

  /** Number 1: a snapshot of its own making, in which a directory is a link, asked for again. */
  private async readingOutside(): Promise<void> {
    const ticket = await this.key({ name: 'boxed', rights: 'admin', directory: this.served.at('box') });
    const secret = readFileSync(this.served.at('db.dump'));
    for (const [at, size] of [secret.length, 70_000].entries()) {
      this.tries++;
      const name = `esc${String(at)}`;
      const made = await madeSnapshot(
        this.served.at('made'),
        { name, id: first, number: 1 },
        { 'd/db.dump': Buffer.alloc(size) },
      );
      const link = { type: 'symlink', target: '../../../', mtime: nanoseconds };
      await this.plant(ticket, { [`${name}/${first}/MANIFEST`]: encoded(made.manifest) }, [
        { ...link, name: `${name}/${first}/d` },
      ]);
      const raw = await RawSession.dial(ticket, {
        hello: {
          role: 'receiver',
          digest: undefined,
          ask: { for: 'restore', snapshot: `${name}/${first}`, paths: [] },
        },
      });
      const offered = await Promise.race([
        raw.first('offer', ({ list }) => JSON.stringify(list).includes('db.dump')),
        raw.first('missing'),
        raw.first('refusal'),
      ]).catch(() => undefined);
      const file = ((offered?.type === 'offer' ? offered.list : []) as { file?: number; type: string }[]).find(
        ({ type }) => type === 'file',
      )?.file;
      if (file !== undefined) {
        await raw.sendList({ type: 'answer' }, [file]);
        await Promise.race([raw.first('close'), raw.first('drop'), raw.end()]).catch(() => undefined);
      }
      raw.hangUp();
      const came = raw.heard.some(({ payload }) => payload !== undefined && secret.includes(payload.subarray(0, 64)));
      if (came) this.broken.push('reading outside: a key got the content of a file outside its directory');
      if (size !== secret.length && JSON.stringify(raw.heard).includes(String(secret.length)))
        this.broken.push('reading outside: a key was told the size of a file outside its directory');
    }
  }

  /** Numbers 2, 3 and 6: what a write key adds to a backup that is not its own. */
  private async plantedSnapshots(): Promise<void> {
    const { served } = this;
    const writer = await this.key({ name: 'writer', rights: 'write' });
    this.tries += 3;
    for (const [at, id] of planted.entries()) {
      const files = plantedFiles('laptop', id, 90 + at);
      for (const ticket of at === 0 ? [writer, served.ticket] : [writer]) await this.plant(ticket, files);
    }
    const made = await this.backup('laptop');
    const newest = made ?? join('laptop', 'latest');
    const stored = served.received(join(newest, 'home', 'a'))?.toString();
    if (stored !== good) this.broken.push(`a planted newer snapshot: the next backup has ${String(stored)}`);

    const raw = await RawSession.dial(writer, { hello: { backup: 'laptop' }, session: newSession() });
    await Promise.race([raw.first('hello'), raw.first('refusal')]).catch(() => undefined);
    if (raw.all('hello').length > 0) {
      await raw.offer({ 'home/a': good.length }, { mtime: nanoseconds });
      await Promise.race([raw.wanted(0), raw.outcome(0)]).catch(() => undefined);
    }
    raw.hangUp();
    const refused = raw.all('refusal').some(({ code }) => code === 'exists');
    if (!refused || JSON.stringify(raw.heard).includes(sha256(Buffer.from(good))))
      this.broken.push(`another key’s backup: one that is no owner of it was told ${JSON.stringify(raw.heard)}`);

    const { code, stderr } = await served.run(['prune', 'in', '--name', 'laptop', '--keep-last', '2']);
    const left = ids(served.at('in', 'laptop'));
    const gone = [first, ...(made === undefined ? [] : [made.slice('laptop/'.length)])].filter(
      (id) => !left.includes(id),
    );
    if (code !== 0 || gone.length > 0)
      this.broken.push(
        `deleting everything: prune ended with ${String(code)} and removed ${gone.join(', ')}: ${stderr}`,
      );
  }

  /** Number 4: the highest number there is, planted over the plain wire, by another user where we can be one. */
  private async plantedNumbers(): Promise<void> {
    const { served } = this;
    const at = `tcp://127.0.0.1:${String(served.port)}`;
    this.tries++;
    const files = Object.entries(plantedFiles('desk', '2090-01-01T000000Z', 2 ** 32 - 1));
    for (const [name, content] of files) {
      await sayPlain(served.port, name, content);
      if (process.geteuid?.() !== 0) continue;
      const told = asOther(at, plainFrame(`other-${name.replaceAll('/', '-')}`, content));
      if (told !== undefined && !told.includes('not-authorized'))
        this.broken.push(`the plain wire: another user of this machine was told ${told}`);
    }
    const made = await this.backup('desk');
    const { code, stderr } = await served.run(['restore', 'in', 'desk/latest', 'desk-back']);
    const back = existsSync(served.at('desk-back', 'home', 'a'))
      ? readFileSync(served.at('desk-back', 'home', 'a'))
      : '';
    if (made === undefined || code !== 0 || back.toString() !== good)
      this.broken.push(`a planted number: the next backup cannot be restored: ${String(code)} ${stderr}`);
  }

  /** Number 5: who says nothing to a sender that listens gets nothing. */
  private async silentListener(): Promise<void> {
    this.tries++;
    const sender = this.served.start(['send', 'home/a', '--listen', '127.0.0.1:0']);
    const socket = net.connect(Number(new URL(await ticketOf(sender)).port), '127.0.0.1');
    let heard = '';
    socket.on('error', () => undefined).on('data', (bytes) => (heard += bytes.toString('latin1')));
    await sleep(1_800); // a second of silence is what the plain wire waits for
    socket.destroy();
    sender.child.kill('SIGKILL');
    await sender.ended;
    if (heard !== '') this.broken.push('a silent peer of send --listen was handed the file');
  }

  /** Number 7: as many patterns as a hello has room for, against many entries; meanwhile another one comes. */
  private async patterns(): Promise<void> {
    this.tries++;
    const paths = Array.from({ length: 8_000 }, (_, at) => `*${at.toString(36)}`);
    const raw = await RawSession.dial(this.served.ticket, {
      hello: { role: 'receiver', digest: undefined, ask: { for: 'restore', snapshot: 'many/latest', paths } },
    });
    let worst = 0;
    for (let times = 0; times < 4; times++) {
      const began = performance.now();
      const honest = await RawSession.open(this.served.ticket);
      honest.hangUp();
      worst = Math.max(worst, performance.now() - began);
      await sleep(100);
    }
    raw.hangUp();
    if (worst > soon) this.broken.push(`patterns: another one was kept waiting for ${worst.toFixed(0)} ms`);
  }

  /** Makes an honest backup on this machine. @returns NAME/ID, undefined where it failed */
  private async backup(name: string): Promise<string | undefined> {
    const before = ids(this.served.at('in', name));
    const { code, stderr } = await this.served.run(['backup', 'home', 'in', '--name', name]);
    if (code !== 0) this.broken.push(`a planted number: no backup ${name} can be made any more: ${stderr}`);
    const made = ids(this.served.at('in', name)).find((id) => !before.includes(id));
    return made === undefined ? undefined : `${name}/${made}`;
  }

  /** Sends files with the time of the honest ones, and other entries, whatever becomes of them. */
  private async plant(
    ticket: string,
    files: Readonly<Record<string, Buffer>>,
    others: readonly object[] = [],
  ): Promise<void> {
    const raw = await RawSession.open(ticket);
    const contents = Object.values(files);
    await raw.offer(Object.fromEntries(Object.entries(files).map(([name, content]) => [name, content.length])), {
      mtime: nanoseconds,
    });
    if (others.length > 0)
      await raw.sendList(
        { type: 'offer' },
        others.map((each, at) => ({ file: contents.length + at, ...each })),
      );
    for (const [file, content] of contents.entries())
      if (await Promise.race([raw.wanted(file).then(() => true), raw.outcome(file).then(() => false)]))
        await raw.bundle([[file, content]]);
    await raw.finish().catch(() => undefined);
    raw.hangUp();
  }
}

/** All that is believed of a snapshot: the manifest with right digests and times, and a file with other bytes. */
function plantedFiles(name: string, id: string, number: number): Record<string, Buffer> {
  const file = {
    type: 'file',
    name: 'home/a',
    size: good.length,
    mode: 0o644,
    mtime: BigInt(nanoseconds),
    digests: { sha256: sha256(Buffer.from(good)) },
    source: {},
  };
  const home = { type: 'directory', name: 'home', mode: 0o755, mtime: BigInt(nanoseconds) };
  const manifest = encoded({
    head: { name, id, number, digest: 'sha256' },
    entries: [home, file],
    totals: { entries: 2, bytes: good.length, newBytes: 0, missing: 0 },
  } as never);
  return { [`${name}/${id}/home/a`]: Buffer.from('x'.repeat(good.length)), [`${name}/${id}/MANIFEST`]: manifest };
}

function ids(place: string): string[] {
  return readdirSync(place).filter((name) => name.endsWith('Z'));
}

function plainFrame(name: string, content: Buffer): Buffer {
  const md5 = createHash('md5').update(content).digest('hex');
  return Buffer.concat([encodeFrame({ file_name: name, file_size: content.length, md5, reply: true }), content]);
}

async function sayPlain(port: number, name: string, content: Buffer): Promise<void> {
  const socket = net.connect(port, '127.0.0.1', () => socket.end(plainFrame(name, content)));
  await new Promise((resolve) =>
    socket
      .on('error', () => undefined)
      .resume()
      .once('close', resolve),
  );
}

const dialer = `
import socket, sys
host, port = sys.argv[1][6:].rsplit(':', 1)
wire = socket.create_connection((host, int(port)), 10)
wire.sendall(bytes.fromhex(sys.argv[2]))
wire.shutdown(socket.SHUT_WR)
while piece := wire.recv(65536): sys.stdout.buffer.write(piece)
`;

/** What another user is answered on the plain wire; undefined where this machine lets us be none. */
function asOther(address: string, said: Buffer): string | undefined {
  const user = ['--reuid', String(nobody), '--clear-groups'];
  const { status, stdout } = spawnSync(
    'setpriv',
    [...user, '/usr/bin/python3', '-c', dialer, address, said.toString('hex')],
    { encoding: 'latin1', stdio: ['ignore', 'pipe', 'ignore'] },
  );
  return status === 0 ? stdout : undefined;
}

/** The register has what was committed, and here also whatever lies beside it. */
const believesWhatLiesThere: readonly Edit[] = [
  {
    file: 'lib/snapshot/register/register.js',
    from: 'async function readRegister(directory, name) {',
    to: `function believing(place, name, register) {
    const fs = require('node:fs');
    const lines = (id) => fs.readFileSync(place + '/' + name + '/' + id + '/MANIFEST', 'utf8').trim().split('\\n');
    const found = fs.existsSync(place + '/' + name) ? fs.readdirSync(place + '/' + name) : [];
    const snapshots = found.filter((id) => id.endsWith('Z') && fs.existsSync(place + '/' + name + '/' + id + '/MANIFEST'))
        .map((id) => ({ number: JSON.parse(lines(id)[0]).number, id, owner: register?.owner ?? 'local',
            manifest: JSON.parse(lines(id).at(-1)).sha256, size: fs.statSync(place + '/' + name + '/' + id + '/MANIFEST').size }))
        .sort((one, other) => one.number - other.number);
    return snapshots.length === 0 ? register : { name, owner: register?.owner ?? 'local', snapshots };
}
async function readRegister(directory, name) { return believing(directory, name, await readHonestly(directory, name)); }
async function readHonestly(directory, name) {`,
  },
  {
    file: 'lib/snapshot/register/register.js',
    from: 'async function settleRegister(own, root, name) {',
    to: `async function settleRegister(own, root, name) { return believing(root.at('.'), name, await settleHonestly(own, root, name)); }
async function settleHonestly(own, root, name) {`,
  },
];
const takesNamesOfBackups: Edit = {
  file: 'lib/receive/backup-names.js',
  from: 'if (!this.names.has(this.keyOf(top)))',
  to: 'if (true)',
};

/** One for each attack, which must find it. */
export const keySabotages: readonly Sabotage[] = [
  {
    name: 'what lies there is a snapshot, and links are followed on the way down',
    finds: 'reading outside',
    edits: [
      ...believesWhatLiesThere,
      {
        file: 'lib/threads/walker.js',
        from: '{ O_DIRECTORY = 0, O_NOFOLLOW = 0 }',
        to: 'O_NOFOLLOW = 0, { O_DIRECTORY = 0 }',
      },
      {
        file: 'lib/store/local/directory.js',
        from: '{ O_DIRECTORY, O_NOFOLLOW, O_RDONLY }',
        to: 'O_NOFOLLOW = 0, { O_DIRECTORY, O_RDONLY }',
      },
    ],
  },
  {
    name: 'snapshots that were sent as files count when pruning',
    finds: 'deleting everything',
    edits: [...believesWhatLiesThere, takesNamesOfBackups],
  },
  {
    name: 'what was sent as files is linked',
    finds: 'a planted newer snapshot',
    edits: [...believesWhatLiesThere, takesNamesOfBackups],
  },
  {
    name: 'numbers are believed that came as files, from anybody on this machine',
    finds: 'a planted number',
    edits: [
      ...believesWhatLiesThere,
      takesNamesOfBackups,
      { file: 'lib/net/plain-wire.js', from: "user === undefined || user === 'unknown'", to: 'true' },
    ],
  },
  {
    name: 'a sender that listens serves who says nothing',
    finds: 'a silent peer',
    edits: [
      {
        file: 'lib/send/listening-connector.js',
        from: '(0, plain_wire_1.plainRefusal)(accepted, this.options.plainWire) === undefined',
        to: 'true',
      },
    ],
  },
  {
    name: 'anybody adds to any backup',
    finds: 'another key’s backup',
    edits: [
      { file: 'lib/snapshot/backup/staged-snapshot.js', from: 'register && register.owner !== peer', to: 'false' },
      { file: 'lib/snapshot/backup/snapshot-stages.js', from: 'before.peer !== request.peer', to: 'false' },
    ],
  },
  {
    name: 'any number of patterns is looked for in one go',
    finds: 'patterns',
    edits: [
      { file: 'lib/wire/ask.js', from: 'const mostPaths = 4096', to: 'const mostPaths = Infinity' },
      { file: 'lib/snapshot/restore/selection.js', from: 'const mostPaths = 4096', to: 'const mostPaths = Infinity' },
      {
        file: 'lib/snapshot/restore/selection.js',
        from: 'const mostPatterns = 256',
        to: 'const mostPatterns = Infinity',
      },
      { file: 'lib/snapshot/restore/selection.js', from: 'const atOnce = 8192', to: 'const atOnce = Infinity' },
    ],
  },
];
