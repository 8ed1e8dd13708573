import { expect } from 'chai';
import { createHash, randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createReceiver, send, type TransferEvent } from '../../../lib/index';
import { exportObjects, type ExportOptions } from '../../../lib/snapshot/object/export-objects';
import type { ObjectStoreOptions } from '../../../lib/store/object/object-store';
import { failureOf } from '../../store/delivery';
import { useTiny } from '../../store/object/servers';

const MiB = 1024 * 1024;
const names = ['a', 'empty', 'sub/ü b%', 'sub/large'];

describe('exporting from an object store', () => {
  const server = useTiny();
  let objects: ObjectStoreOptions;
  let root: string;
  let source: string;

  beforeEach(async () => {
    objects = server.options();
    root = mkdtempSync(path.join(tmpdir(), 'sendall-export-'));
    source = path.join(root, 'src');
    mkdirSync(path.join(source, 'sub'), { recursive: true });
    for (const name of ['a', 'sub/ü b%']) writeFileSync(path.join(source, name), randomBytes(3000), { mode: 0o640 });
    writeFileSync(path.join(source, 'empty'), '');
    writeFileSync(path.join(source, 'sub/large'), randomBytes(17 * MiB));
    symlinkSync('a', path.join(source, 'link'));
    const receiver = await createReceiver({ directory: 's3://specs', objects });
    try {
      await send({ paths: [source], target: (await receiver.listen('127.0.0.1:0')).ticket });
    } finally {
      await receiver.close();
    }
  });
  afterEach(() => {
    server.tiny.knows.free = true;
    rmSync(root, { recursive: true, force: true });
  });

  const directory = (): string => path.join(root, 'out');
  const address = () => ({ bucket: objects.bucket, prefix: `plain-${objects.prefix}` });
  const exported = (to: ExportOptions['to'], more: Partial<ExportOptions> = {}) =>
    exportObjects({ objects, to, ...more });
  const keys = (): string[] => [...server.tiny.objects.keys()].filter((key) => key.startsWith(address().prefix)).sort();
  const original = (name: string): Buffer => readFileSync(path.join(source, name));
  const noting = () => {
    const failures: string[] = [];
    const on = (event: TransferEvent): void => {
      if (event.event === 'failed') failures.push(`${String(event.file_name)} ${event.code}`);
    };
    return { failures, on };
  };
  /** One bit of what the store has of a file is another one. */
  const flip = (size: number): void => {
    for (const [key, object] of server.tiny.objects) {
      if (!key.startsWith(`${objects.prefix}data/`) || object.body.length !== size) continue;
      const body = Buffer.from(object.body);
      body[size - 1] = (body[size - 1] ?? 0) ^ 1;
      server.tiny.objects.set(key, { ...object, body });
    }
  };

  it('makes plain files with modes and times, verified, and again without bringing anything', async () => {
    const received: string[] = [];
    const on = (event: TransferEvent): void => {
      if (event.event === 'received') received.push(`${event.file_name} ${String(event.verified)}`);
    };
    await exported({ directory: directory() }, { on });
    expect(received.length).to.equal(4);
    expect(received.every((each) => /(device|cache)$/.test(each))).to.equal(true);
    for (const name of names) {
      const place = path.join(directory(), 'src', name);
      expect(readFileSync(place).equals(original(name)), name).to.equal(true);
      expect(statSync(place).mtimeMs, name).to.equal(statSync(path.join(source, name)).mtimeMs);
    }
    expect(statSync(path.join(directory(), 'src/a')).mode & 0o777).to.equal(0o640);
    expect(readlinkSync(path.join(directory(), 'src/link'))).to.equal('a');
    received.length = 0;
    await exported({ directory: directory() }, { on });
    expect(received.length).to.equal(4);
    await exported({ directory: path.join(root, 'one') }, { paths: ['src/sub/ü*'] });
    expect(existsSync(path.join(root, 'one/src/a'))).to.equal(false);
    flip(17 * MiB);
    rmSync(path.join(directory(), 'src/sub/large'));
    writeFileSync(path.join(directory(), 'src/a'), 'other');
    const { failures, on: note } = noting();
    await failureOf(exported({ directory: directory() }, { on: note }));
    expect(failures.sort()).to.deep.equal(['src/a exists', 'src/sub/large mismatch']);
    expect(existsSync(path.join(directory(), 'src/sub/large'))).to.equal(false);
    expect(readFileSync(path.join(directory(), 'src/a')).toString()).to.equal('other');
  });

  it('knows each file by the digest that it was sent with', async () => {
    const key = `${objects.prefix}names/src/a`;
    const record = server.tiny.objects.get(key);
    const sha256 = createHash('sha256').update(original('a')).digest('hex');
    const text = record?.body.toString().replace(/"digests":\{[^}]*\}/, `"digests":{"sha256":"${sha256}"}`) ?? '';
    if (record) server.tiny.objects.set(key, { ...record, body: Buffer.from(text) });
    await exported({ directory: directory() });
    for (const name of names)
      expect(readFileSync(path.join(directory(), 'src', name)).equals(original(name)), name).to.equal(true);
  });

  it('makes plain keys, each read back, and replaces none unasked', async () => {
    const skipped: string[] = [];
    await exported(
      { address: address() },
      { on: (event) => void (event.event === 'skipped' && skipped.push(event.file_name)) },
    );
    expect(skipped).to.deep.equal(['src/link']);
    expect(keys()).to.deep.equal(names.map((name) => `${address().prefix}src/${name}`).sort());
    for (const name of names)
      expect(server.tiny.objects.get(`${address().prefix}src/${name}`)?.body.equals(original(name)), name).to.equal(
        true,
      );
    let puts = 0;
    server.tiny.seen = ({ method }) => void (method === 'PUT' && puts++);
    await exported({ address: address() });
    expect(puts).to.equal(0);
    const key = `${address().prefix}src/a`;
    const large = `${address().prefix}src/sub/large`;
    const other = { body: randomBytes(3000), etag: '"x"', modified: new Date() };
    for (const each of [key, large]) server.tiny.objects.set(each, other);
    const { failures, on } = noting();
    await failureOf(exported({ address: address() }, { on }));
    expect(failures.sort()).to.deep.equal(['src/a exists', 'src/sub/large exists']);
    for (const each of [key, large]) expect(server.tiny.objects.get(each)).to.equal(other);
    // Nor what somebody puts there in the instant before.
    server.tiny.objects.delete(key);
    server.tiny.seen = ({ method, key: asked }) => void (method === 'HEAD' && server.tiny.objects.set(asked, other));
    await failureOf(exported({ address: address() }, { paths: ['src/a'] }));
    expect(server.tiny.objects.get(key)).to.equal(other);
    server.tiny.seen = () => undefined;
    await exported({ address: address() }, { ifExists: 'replace' });
    expect(server.tiny.objects.get(key)?.body.equals(original('a'))).to.equal(true);
    const inside = { ...objects, prefix: `${objects.prefix}x/` };
    expect((await failureOf(exported({ address: inside }))).code).to.equal('usage');
    expect((await failureOf(exported({ address: address() }, { ifExists: 'rename' }))).code).to.equal('usage');
  });

  it('makes a key whose answer is lost, and none where a store would overwrite one, or is no UTF-8', async () => {
    let cut = 0;
    server.tiny.fault = ({ method, key }) =>
      method === 'PUT' && key.endsWith('/src/a') && cut++ === 0 ? 'cut after' : undefined;
    await exported({ address: address() }, { paths: ['src/a'] });
    expect(cut).to.equal(2);
    server.tiny.fault = () => undefined;
    const record = server.tiny.objects.get(`${objects.prefix}names/src/a`);
    if (record) server.tiny.objects.set(`${objects.prefix}names/src/%FF`, record);
    server.tiny.knows.free = false;
    const { failures, on } = noting();
    await failureOf(exported({ address: address() }, { on, paths: ['src/empty', 'src/\udcff'] }));
    expect(failures.sort()).to.deep.equal(['src/empty directory', 'src/\udcff name']);
    const before = keys();
    const stopped = exported({ address: address() }, { signal: AbortSignal.abort() });
    expect((await failureOf(stopped)).code).to.equal('interrupted');
    expect(keys()).to.deep.equal(before);
  });

  it('leaves no key of what is damaged, or does not read back', async () => {
    flip(17 * MiB);
    flip(6000); // the pack of both small ones: the second of them is damaged
    const { failures, on } = noting();
    let completed = 0;
    server.tiny.seen = ({ method, key, query }) => {
      if (key.startsWith(address().prefix) && method === 'POST' && query.has('uploadId')) completed++;
      if (key.endsWith('ü b%') && method === 'PUT') completed++;
    };
    await failureOf(exported({ address: address() }, { on }));
    expect(failures.sort()).to.deep.equal(['src/sub/large mismatch', 'src/sub/ü b% mismatch']);
    expect(completed).to.equal(0); // not even for an instant
    expect(keys()).to.deep.equal(['a', 'empty'].map((name) => `${address().prefix}src/${name}`));
    expect(server.tiny.uploads.size).to.equal(0);
    for (const key of keys()) server.tiny.objects.delete(key);
    server.tiny.fault = ({ method, key }) => (method === 'GET' && key.endsWith('plain/src/a') ? 'flip' : undefined);
    const there = { bucket: objects.bucket, prefix: `other-${objects.prefix}plain/` };
    await failureOf(exported({ address: there }, { paths: ['src/a'], on }));
    expect(failures.at(-1)).to.equal('src/a mismatch');
    expect(server.tiny.objects.has(`${there.prefix}src/a`)).to.equal(false);
  });
});
