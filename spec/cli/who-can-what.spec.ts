import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { AuthorizedKeys, createKey, formatTicket, parseTicket, type WantedAuthorization } from '../../lib/index';
import { Wiretap } from '../net/session-port';
import { noise } from '../session/pair';
import { RawSession, type Said, sha256 } from '../session/raw-session';
import { madeSnapshot } from '../snapshot/made-snapshot';
import { eventsOf } from './sendall-process';
import { SessionRun } from './session-run';

const [first, second] = ['2026-11-20T101233Z', '2026-11-21T101233Z'];
const large = noise(100_000, 3);
const kept = 'what was backed up';

/** The cells of the table in SECURITY.md, as peers that hold keys see one receiver. */
describe('cli: what each key learns, changes and blocks (the built command)', function () {
  this.timeout(60_000);
  let run: SessionRun;
  let env: NodeJS.ProcessEnv;
  let ticket: string;
  const tickets = new Map<string, string>();
  const wanted: readonly WantedAuthorization[] = [
    { name: 'write', rights: 'write' },
    { name: 'read', rights: 'read' },
    { name: 'admin', rights: 'admin' },
    { name: 'expired', rights: 'admin', expires: new Date(Date.now() - 1_000) },
    { name: 'removed', rights: 'admin' },
  ];
  const authorized = (): AuthorizedKeys => new AuthorizedKeys(run.at('config', 'sendall', 'authorized.json'));
  const of = (name: string): string => tickets.get(name) ?? '';
  /** Everything below the directories of all keys, as one text. */
  const all = (): string =>
    ['in', 'box']
      .flatMap((place) =>
        readdirSync(run.at(place), { recursive: true, withFileTypes: true })
          .filter((entry) => entry.isFile() && !entry.parentPath.includes('.sendall'))
          .map((entry) => join(entry.parentPath, entry.name))
          .map((name) => `${name} ${sha256(readFileSync(name))}`),
      )
      .sort()
      .join('\n');

  before(async () => {
    run = new SessionRun();
    env = { XDG_CONFIG_HOME: run.at('config') };
    mkdirSync(run.at('box'), { mode: 0o755 });
    for (const [place, name, file] of [
      ['in', 'laptop', 'home/secret'],
      ['box', 'desk', 'home/a'],
    ] as const) {
      writeFileSync(run.at(place, 'large'), large);
      writeFileSync(run.at(place, 'small'), 'mine');
      const { place: before } = await madeSnapshot(run.at(place), { name, id: first, number: 1 }, { [file]: kept });
      await madeSnapshot(run.at(place), { name, id: second, number: 2 }, { [file]: kept }, { previous: before });
    }
    ({ ticket } = await run.receive(['--if-exists', 'replace'], env));
    const { address } = parseTicket(ticket);
    const boxed = wanted.slice(0, 3).map((each) => ({ ...each, name: `${each.name}-box`, directory: run.at('box') }));
    for (const each of [...wanted, ...boxed])
      tickets.set(each.name, formatTicket({ ...(await authorized().authorize(each)), address }));
    await authorized().revoke('removed');
  });
  after(() => run.end());

  /** What one is told who asks for something of the snapshots, up to the end. */
  async function ask(name: string, wish: object): Promise<readonly Said[]> {
    const raw = await RawSession.dial(of(name), { hello: { role: 'receiver', digest: undefined, ask: wish } });
    await Promise.race([raw.first('done'), raw.first('refusal'), raw.first('offer')]).catch(() => undefined);
    raw.hangUp();
    return raw.heard;
  }
  const wishes = {
    restore: { snapshot: 'laptop/latest', paths: [] },
    snapshots: {},
    entries: { snapshot: 'laptop/latest' },
    find: { pattern: 'a' },
    difference: { a: `laptop/${first}`, b: `laptop/${second}` },
    verify: {},
    prune: { keep: { last: 1 } },
  } as const;
  /** Asks for everything that can be asked for; the words of the answers, and their codes. */
  async function askAll(name: string, without: readonly string[] = []): Promise<{ text: string; codes: unknown[] }> {
    const answers: Said[] = [];
    for (const [what, more] of Object.entries(wishes))
      if (!without.includes(what)) answers.push(...(await ask(name, { for: what, ...more })));
    return {
      text: JSON.stringify(answers),
      codes: answers.filter(({ type }) => type === 'refusal').map(({ code }) => code),
    };
  }
  /** Offers one file and sends it where it is wanted; resolves with its receipt or refusal. */
  async function send(raw: RawSession, file: number, name: string, content: Uint8Array): Promise<object> {
    await raw.offer({ [name]: content.length }, {}, file);
    const settled = raw.outcome(file);
    if (await Promise.race([raw.wanted(file).then(() => true), settled.then(() => false)])) {
      if (content.length <= 65_536) await raw.bundle([[file, content]]);
      else {
        await raw.segments(file, content);
        await raw.close(file, content);
      }
    }
    return settled;
  }

  it('nobody changes anything: an expired, a removed, an unknown and a wrong key open nothing', async () => {
    const before = all();
    const [expired, removed] = ['expired', 'removed'].map((name) => parseTicket(of(name)));
    for (const shown of [expired, removed, createKey(), { id: parseTicket(of('write')).id, key: createKey().key }]) {
      const { id = '', key = createKey().key } = shown ?? {};
      const failure = await RawSession.dial(ticket, { key: { id, key } }).catch(
        (error: { code?: string }) => error.code,
      );
      expect(failure, id).to.equal('not-authorized');
    }
    expect(all()).to.equal(before);
  });

  it('write adds, replaces nothing, and is told neither contents nor digests of what is there', async () => {
    const before = all();
    const raw = await RawSession.open(of('write'));
    expect(await send(raw, 0, 'large', noise(100_000, 9))).to.include({ code: 'exists' });
    expect(await send(raw, 1, 'small', Buffer.from('evil'))).to.include({ code: 'exists' });
    await raw.sendList({ type: 'offer' }, [
      { file: 2, type: 'symlink', name: 'small', target: '/', mtime: '0' },
      { file: 3, type: 'directory', name: 'large', mode: 0o755, mtime: '0' },
      { file: 4, type: 'link', name: 'taken', target: 'small', mtime: '0' },
    ]);
    await raw.finish();
    for (const file of [2, 3, 4]) expect(await raw.outcome(file), String(file)).to.have.property('code');
    const same = await RawSession.open(of('write'));
    expect(await send(same, 0, 'large', large), 'what it sends itself').to.have.property('verified');
    await same.finish();
    for (const type of ['held', 'standing']) expect([...raw.all(type), ...same.all(type)]).to.deep.equal([]);
    expect(JSON.stringify(raw.heard)).not.to.include(sha256(Buffer.from('mine')));
    expect(all()).to.equal(before);
  });

  it('write gets nothing of the backups, its own neither: no question is answered, and nothing is pruned', async () => {
    const before = all();
    const { text, codes } = await askAll('write');
    expect(codes).to.deep.equal(Object.keys(wishes).map(() => 'not-authorized'));
    expect(text).not.to.match(/secret|2026/);
    expect(all()).to.equal(before);
  });

  it('read gets what is in its directory and nothing outside, and changes nothing', async () => {
    const before = all();
    const sending = await RawSession.dial(of('read-box'));
    expect(await sending.broken()).to.include({ code: 'not-authorized' });
    const { text, codes } = await askAll('read-box');
    expect(codes).to.deep.equal(['usage', 'usage', 'usage', 'not-authorized']);
    expect(text).to.include(`desk/${first}`).and.not.include('secret').and.not.include(run.directory);
    expect((await askAll('read', ['prune'])).text)
      .to.include(`laptop/${first}`)
      .and.not.include('desk/')
      .and.not.include('home/a');
    expect(all()).to.equal(before);
  });

  it('admin replaces and prunes in its directory, is told what it need not send, and knows nothing outside', async () => {
    const raw = await RawSession.open(of('admin-box'));
    expect(await send(raw, 0, 'small', Buffer.from('new'))).to.have.property('verified');
    const changed = noise(100_000, 5);
    expect(await send(raw, 1, 'large', changed)).to.have.property('verified');
    expect(JSON.stringify(raw.all('standing'))).to.include(sha256(large));
    await raw.finish();
    const { text } = await askAll('admin-box');
    expect(text)
      .to.match(/"removed".{1,40}desk/)
      .and.not.include('secret')
      .and.not.include(run.directory);
    expect(readdirSync(run.at('box', 'desk')).sort()).to.deep.equal([second, 'latest']);
    expect(readFileSync(run.at('box', 'large')).equals(changed)).to.equal(true);
    expect(readdirSync(run.at('in', 'laptop')).sort()).to.deep.equal([first, second, 'latest']);
    expect(readFileSync(run.at('in', 'small'), 'utf8')).to.equal('mine');
  });

  it('read and admin leave sessions and questions to others, however many they begin and leave open', async () => {
    for (const name of ['read', 'admin-box']) {
      const snapshot = name === 'read' ? 'laptop/latest' : 'desk/latest';
      const hello = { role: 'receiver', digest: undefined, ask: { for: 'restore', snapshot, paths: [] } };
      const held = await Promise.all(Array.from({ length: 24 }, () => RawSession.dial(of(name), { hello })));
      await Promise.all(
        held.map((raw) => Promise.race([raw.first('offer'), raw.first('refusal')]).catch(() => undefined)),
      );
      // The ticket may ask as well.
      tickets.set('ticket', ticket);
      expect((await ask('ticket', { for: 'snapshots' })).at(-1), name).to.include({ type: 'done' });
      for (const raw of held) raw.hangUp();
      // What was left takes no place of who comes again: more than one key has, one after the other.
      for (let times = 0; times < 5 && name === 'admin-box'; times++) {
        const again = await RawSession.dial(of(name), { hello });
        expect(await Promise.race([again.first('offer'), again.first('refusal')]), String(times)).to.include({
          type: 'offer',
        });
        again.hangUp();
        await again.end();
      }
    }
  });

  it('what was recorded stays closed when the key is stolen: each session has a fresh secret', async () => {
    const tap = await Wiretap.before(Number(new URL(ticket).port));
    writeFileSync(run.at('recorded'), 'nobody may read this');
    const there = formatTicket({ ...parseTicket(ticket), address: tap.address });
    expect(await run.run(['send', 'recorded', there])).to.include({ code: 0 });
    const [asked, answered] = [tap.toServer, tap.toClient].map((bytes) => Buffer.concat(bytes));
    expect(asked?.includes('nobody may read this')).to.equal(false);
    expect(asked?.toString('hex'), 'psk_key_exchange_modes: psk_dhe_ke alone').to.include('002d00020101');
    expect(answered?.toString('hex'), 'key_share: x25519').to.match(/0033(?:0024001d0020|046411ec0460)/);
    await tap.close();
  });

  it('whoever has the disk changes everything there, which verify, sha256sum and a restore tell', async () => {
    const place = (...names: readonly string[]): string => run.at('in', 'laptop', second, ...names);
    const times = new Date('2026-11-21T10:12:33Z');
    writeFileSync(place('home', 'secret'), kept.toUpperCase());
    utimesSync(place('home', 'secret'), times, times);
    const verified = await run.run(['verify', 'in', '--json']);
    expect(verified.code).to.equal(4);
    expect(eventsOf(verified).filter(({ event }) => event === 'damaged')).to.have.length(2);
    expect(() =>
      execFileSync('sha256sum', ['-c', '--status', 'SHA256SUMS'], { cwd: place(), stdio: 'pipe' }),
    ).to.throw();
    // A manifest that says so too is not the one that was committed.
    const manifest = readFileSync(place('MANIFEST'), 'utf8');
    writeFileSync(
      place('MANIFEST'),
      manifest.replace(sha256(Buffer.from(kept)), sha256(Buffer.from(kept.toUpperCase()))),
    );
    const restored = await run.run(['restore', 'in', 'laptop/latest', 'restored', '--json']);
    expect(restored.code).to.equal(4);
    expect(existsSync(run.at('restored', 'home'))).to.equal(false);
  });
});
