import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { inspect } from 'node:util';
import { expect } from 'chai';
import { type Authorization, AuthorizedKeys, type WantedAuthorization } from '../../lib/access/authorized';
import { failureOf } from '../store/delivery';

describe('lib/access/authorized', () => {
  let directory: string;
  let file: string;
  let keys: AuthorizedKeys;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'sendall-authorized-'));
    file = join(directory, 'authorized.json');
    keys = new AuthorizedKeys(file);
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  /** Everything of an authorization that can be compared. */
  const plain = ({ key, ...others }: Authorization): object => ({ ...others, key: Buffer.from(key).toString('hex') });
  const stored = (): Record<string, Record<string, unknown>> =>
    JSON.parse(readFileSync(file, 'utf8')) as Record<string, Record<string, unknown>>;

  it('keeps everything about a key, for others who read the file', async () => {
    const wanted = {
      name: 'laptop',
      rights: 'read',
      directory: '/srv/laptop',
      quota: 5,
      expires: new Date('2200-01-31T00:00Z'),
    } as const;
    const made = await keys.authorize(wanted);
    expect(made).to.deep.include(wanted);
    expect(made.id).to.match(/^[0-9a-f]{32}$/);
    expect(made.key).to.have.length(32);
    const other = new AuthorizedKeys(file);
    const found = other.find(made.id);
    expect(found && plain(found)).to.deep.equal(plain(made));
    expect((await other.list()).map(plain)).to.deep.equal([plain(made)]);
    const { key = '', ...entry } = stored()[made.id] ?? {};
    expect(Buffer.from(String(key), 'base64url').equals(Buffer.from(made.key))).to.equal(true);
    expect(entry).to.deep.equal({
      ...wanted,
      expires: '2200-01-31T00:00:00.000Z',
      created: made.created.toISOString(),
    });
    expect(statSync(file).mode & 0o777).to.equal(0o600);
  });

  it('gives each key bytes of its own, and shows them to no log', async () => {
    const [a, b] = [
      await keys.authorize({ name: 'a', rights: 'write' }),
      await keys.authorize({ name: 'b', rights: 'write' }),
    ];
    expect(Buffer.from(a.key).equals(Buffer.from(b.key))).to.equal(false);
    expect(a.id).not.to.equal(b.id);
    for (const shown of [a, keys.find(b.id)])
      expect(JSON.stringify(shown) + inspect(shown))
        .to.include('(secret)')
        .and.not.match(/\d+,\s*\d+/);
    expect((await keys.list()).map(({ name }) => name)).to.deep.equal(['a', 'b']);
  });

  it('knows nobody where there is no file, and that is no problem', async () => {
    expect(keys.find('0'.repeat(32))).to.equal(undefined);
    expect(keys.problem).to.equal(undefined);
    expect(await keys.list()).to.deep.equal([]);
  });

  it('sees at once what another process changes', async () => {
    const other = new AuthorizedKeys(file);
    const { id } = await other.authorize({ name: 'a', rights: 'write' });
    expect(keys.find(id)?.name).to.equal('a');
    await other.revoke('a');
    expect(keys.find(id)).to.equal(undefined);
    const again = await other.authorize({ name: 'a', rights: 'write' });
    expect(keys.find(again.id)?.name).to.equal('a');
    expect(keys.find(id)).to.equal(undefined);
    rmSync(file);
    expect(keys.find(again.id)).to.equal(undefined);
  });

  it('sees a change that leaves inode and size alone and comes in the same instant', async () => {
    const { id } = await keys.authorize({ name: 'a', rights: 'write' });
    const text = readFileSync(file, 'utf8');
    for (let round = 0; round < 200; round++) {
      const other = String(round).padStart(32, 'f');
      writeFileSync(file, text.replace(id, other));
      expect(keys.find(other)?.name).to.equal('a');
      expect(keys.find(id)).to.equal(undefined);
      writeFileSync(file, text);
      expect(keys.find(other)).to.equal(undefined);
    }
  });

  it('reads a file that rests only once, and a fresh one every time, since its next state may look the same', async () => {
    const { id } = await keys.authorize({ name: 'a', rights: 'write' });
    expect(keys.find(id)).not.to.equal(keys.find(id));
    await pause(2100);
    const found = keys.find(id);
    expect(found).not.to.equal(undefined);
    expect(keys.find(id)).to.equal(found);
    chmodSync(file, 0o600); // a new state
    expect(keys.find(id)).not.to.equal(found);
  });

  it('finds a key until it expires, and not from then on', async () => {
    const { id } = await keys.authorize({ name: 'a', rights: 'write', expires: new Date(Date.now() + 400) });
    expect(keys.find(id)?.name).to.equal('a');
    await pause(450);
    expect(keys.find(id)).to.equal(undefined);
    expect(keys.problem).to.equal(undefined);
    expect((await keys.list()).map(({ name }) => name)).to.deep.equal(['a']);
  });

  it('authorizes nobody from a file that others can read, says why, and goes on once that is mended', async () => {
    const { id } = await keys.authorize({ name: 'a', rights: 'write' });
    chmodSync(file, 0o644);
    expect(keys.find(id)).to.equal(undefined);
    expect(keys.problem).to.include({ code: 'usage', hint: `Run chmod 600 ${file}` });
    expect((await failureOf(keys.list())).code).to.equal('usage');
    chmodSync(file, 0o600);
    expect(keys.find(id)?.name).to.equal('a');
    expect(keys.problem).to.equal(undefined);
  });

  it('takes a damaged file for what it is, never for an empty one, and quotes no key', async () => {
    const { id } = await keys.authorize({ name: 'a', rights: 'write', quota: 5 });
    const whole = readFileSync(file, 'utf8');
    const secret = String(stored()[id]?.['key']);
    const damages: [what: string, text: string][] = [
      ['nothing', ''],
      ['half of it', whole.slice(0, -40)],
      ['a slip before the key, which JavaScript would quote', whole.replace(`"${secret}"`, `x"${secret}"`)],
      ['an array', '[]'],
      ['null', 'null'],
      ['a short id', whole.replace(id, id.slice(1))],
      ['an entry that is none', `{"${id}": 1}`],
      ['a short key', whole.replace(secret, secret.slice(1))],
      ['a name that is a path', whole.replace('"a"', '"../a"')],
      ['other rights', whole.replace('"write"', '"root"')],
      ['no rights', whole.replace(/"rights": "write",/, '')],
      ['a negative quota', whole.replace('"quota": 5', '"quota": -5')],
      ['a relative directory', whole.replace('"quota": 5', '"directory": "x"')],
      ['an end that is none', whole.replace('"quota": 5', '"expires": "never"')],
      ['an empty end', whole.replace('"quota": 5', '"expires": null')],
      ['a restriction that is not known', whole.replace('"quota": 5', '"only_from": "10.0.0.1"')],
    ];
    for (const [what, text] of damages) {
      expect(text, what).not.to.equal(whole);
      writeFileSync(file, text);
      expect(keys.find(id), what).to.equal(undefined);
      expect(keys.problem?.message, what).to.include('is damaged');
      for (const failure of [
        await failureOf(keys.list()),
        await failureOf(keys.authorize({ name: 'b', rights: 'write' })),
        await failureOf(keys.revoke('a')),
      ]) {
        expect(failure.code, what).to.equal('usage');
        expect(inspect(failure, { depth: 5 }), what).not.to.include(secret.slice(0, 6));
      }
      expect(readFileSync(file, 'utf8'), what).to.equal(text);
    }
    writeFileSync(file, whole);
    expect(keys.find(id)?.name).to.equal('a');
  });

  it('refuses a second key for a name, and to revoke one that is not there', async () => {
    const { id } = await keys.authorize({ name: 'a', rights: 'write' });
    expect(await failureOf(keys.authorize({ name: 'a', rights: 'admin' }))).to.include({ code: 'usage' });
    expect(await failureOf(keys.revoke('b'))).to.include({ code: 'usage' });
    expect(keys.find(id)?.rights).to.equal('write');
  });

  it('refuses what makes no sense before anything is written', async () => {
    const wrong: Partial<WantedAuthorization>[] = [
      { name: 'a/b' },
      { rights: 'root' as 'admin' },
      { directory: 'relative' },
      { quota: 0 },
      { quota: 1.5 },
      { expires: new Date(NaN) },
    ];
    for (const change of wrong) {
      expect(
        (await failureOf(keys.authorize({ name: 'a', rights: 'write', ...change }))).code,
        inspect(change),
      ).to.equal('usage');
    }
    expect(await keys.list()).to.deep.equal([]);
  });
});
