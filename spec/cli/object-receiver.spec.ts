import { expect } from 'chai';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { backup } from '../../lib/snapshot/backup/backup';
import { listSnapshots, verify } from '../../lib/snapshot/remote/anywhere';
import { useTiny } from '../store/object/servers';
import type { TinyRequest } from '../store/object/tiny-s3';
import { eventsOf, SendallProcess } from './sendall-process';

const MiB = 1024 * 1024;

describe('sendall with an object store', function () {
  this.timeout(60_000);
  const server = useTiny();
  let root: string;
  let source: string;
  const running: SendallProcess[] = [];

  beforeEach(() => {
    root = mkdtempSync(path.join(tmpdir(), 'sendall-objects-'));
    source = path.join(root, 'src');
    mkdirSync(source);
    for (let file = 0; file < 50; file++) writeFileSync(path.join(source, `small${String(file)}`), randomBytes(1000));
    writeFileSync(path.join(source, 'large'), randomBytes(40 * MiB));
  });
  afterEach(() => {
    for (const { child } of running.splice(0)) child.kill('SIGKILL');
    rmSync(root, { recursive: true, force: true });
  });

  const command = (...words: string[]): SendallProcess => {
    const env = { AWS_ACCESS_KEY_ID: 'tiny', AWS_SECRET_ACCESS_KEY: 'tiny' };
    const started = new SendallProcess(words, { cwd: root, env });
    running.push(started);
    return started;
  };
  const place = (): { readonly url: string; readonly endpoint: string } => {
    const { bucket, prefix, endpoint } = server.options();
    return { url: `s3://${bucket}/${prefix.slice(0, -1)}`, endpoint: endpoint.href };
  };

  it('goes on at another receiver with a backup after the first one was killed with SIGKILL', async () => {
    const { url, endpoint } = place();
    const receiving = async (): Promise<{ readonly ticket: string; readonly receiver: SendallProcess }> => {
      const receiver = command('receive', url, '--endpoint', endpoint, '--listen', '127.0.0.1:0', '--json');
      return { ticket: (await receiver.says(/"ticket":"([^"]+)"/))[1] ?? '', receiver };
    };
    const keys = (below: string): string[] => [...server.tiny.objects.keys()].filter((key) => key.includes(below));
    /** Parts that another receiver can count on. */
    const noted = (): number => keys('/partials/').filter((key) => /\/\d{5}$/.test(key)).length;
    const first = await receiving();
    server.tiny.seen = () => void (noted() >= 2 && first.receiver.child.kill('SIGKILL'));
    const lost = await command('backup', 'src', first.ticket, '--name', 'b', '--retry-for', '0s').ended;
    expect(lost.code).to.not.equal(0);
    expect(keys('/snapshots/')).to.deep.equal([]);
    const had = noted();
    expect(had).to.be.within(2, 4);
    let sent = 0;
    server.tiny.seen = ({ method, query }) => void (method === 'PUT' && query.has('partNumber') && sent++);
    const { ticket } = await receiving();
    const made = await command('backup', 'src', ticket, '--name', 'b', '--json').ended;
    expect(made.code, made.stderr).to.equal(0);
    expect(sent).to.equal(5 - had);
    const restored = await command('restore', ticket, 'b/latest', 'back', '--json').ended;
    expect(restored.code, restored.stderr).to.equal(0);
    expect(eventsOf(restored).filter(({ event }) => event === 'received').length).to.equal(51);
    const large = readFileSync(path.join(root, 'back/src/large'));
    expect(large.equals(readFileSync(path.join(source, 'large')))).to.equal(true);
    const verified = await command('verify', url, '--endpoint', endpoint, '--json').ended;
    expect(verified.code, verified.stderr).to.equal(0);
    mkdirSync(path.join(root, 'disk'), { mode: 0o700 });
    const copied = await command('copy', url, 'disk', '--endpoint', endpoint).ended;
    expect(copied.code, copied.stderr).to.equal(0);
    expect(copied.stdout).to.match(/^b\/\S+ {2}52 entries .* copied\n$/);
    const there = readFileSync(path.join(root, 'disk/b/latest/src/large'));
    expect(there.equals(large)).to.equal(true);
    expect((await command('copy', 'disk', 'src').ended).code).to.equal(2);
  });

  for (const when of ['before', 'after'] as const)
    it(`leaves a whole snapshot or none where a backup is killed with SIGKILL ${when} a request`, async () => {
      rmSync(path.join(source, 'large'));
      for (const kind of ['/packs/', '/manifests/', '/snapshots/', '/stages/']) {
        // What is stored is noted once it is 64 MiB.
        if (kind === '/stages/')
          for (let at = 0; at < 1030; at++) writeFileSync(path.join(source, String(at)), Buffer.alloc(65_536, at));
        const objects = server.options();
        const url = `s3://${objects.bucket}/${objects.prefix.slice(0, -1)}`;
        const words = ['backup', 'src', url, '--endpoint', objects.endpoint.href, '--name', 'b'];
        const killed = command(...words);
        const kill = ({ method, key }: TinyRequest): boolean =>
          method === 'PUT' && key.includes(kind) && killed.child.kill('SIGKILL') === true;
        if (when === 'before') server.tiny.fault = (request) => (kill(request) ? 'silence' : undefined);
        else server.tiny.seen = kill;
        expect((await killed.ended).signal, kind).to.equal('SIGKILL');
        server.tiny.fault = () => undefined;
        server.tiny.seen = () => undefined;
        const made = kind === '/snapshots/' && when === 'after' ? 1 : 0;
        const none = { objects, signal: new AbortController().signal };
        expect((await listSnapshots(none)).length, kind).to.equal(made);
        if (made > 0) await verify(none);
        // The next one goes on, whatever the other one has left.
        await backup({ paths: [source], objects, name: 'b' });
        const { snapshots } = await verify(none);
        expect(snapshots, kind).to.equal(made + 1);
        expect(server.tiny.keysBelow(`${objects.prefix}stages/`)).to.deep.equal([]);
      }
    });

  it('exports what was sent', async () => {
    const { url, endpoint } = place();
    const receiver = command('receive', url, '--endpoint', endpoint, '--listen', '127.0.0.1:0', '--json');
    const [, ticket = ''] = await receiver.says(/"ticket":"([^"]+)"/);
    expect((await command('send', 'src', ticket).ended).code).to.equal(0);
    const exported = await command('export', url, 'out', 'src/large', '--endpoint', endpoint).ended;
    expect(exported.code, exported.stderr).to.equal(0);
    expect(exported.stdout).to.match(/large .* verified/);
    const large = readFileSync(path.join(root, 'out/src/large'));
    expect(large.equals(readFileSync(path.join(source, 'large')))).to.equal(true);
    const plain = await command('export', url, `${url}-plain`, '--endpoint', endpoint, '--json').ended;
    expect(plain.code, plain.stderr).to.equal(0);
    expect(eventsOf(plain).filter(({ event }) => event === 'received').length).to.equal(51);
    expect((await command('export', 'src', 'out').ended).code).to.equal(2);
    const stored = [...server.tiny.objects].filter(
      ([key, { body }]) => key.includes('/data/') && body.length === 40 * MiB,
    );
    for (const [key] of stored) server.tiny.objects.delete(key);
    const lost = await command('export', url, 'again', 'src/large', '--endpoint', endpoint).ended;
    expect(lost.code).to.equal(4);
    expect(lost.stderr).to.match(/large is damaged.*\nhint: .*send it again/);
  });
});
