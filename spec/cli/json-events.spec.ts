import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { HistoryEvent } from '../../cli/history-events';
import type { HookFailed } from '../../cli/hook-failed';
import type { KeyEvent } from '../../cli/key-events';
import type { TransferEvent } from '../../lib/index';
import { parseEntryName } from '../../lib/name';
import { jsonLine, type PrintedEvent } from '../../cli/progress-json';
import {
  type Ended,
  eventsOf,
  expectEvent,
  isEvent,
  printedEventsOf,
  sendall,
  SendallProcess,
} from './sendall-process';

const md5 = '8f6fbf8347faa4924a76856701edb0f3';
const sent = {
  event: 'sent',
  file_name: 'a',
  file_size: 1,
  digests: { md5 },
  verified: null,
  bytes_on_wire: 90,
  seconds: 0.1,
};
const progress = { event: 'progress', file_name: 'a', phase: 'hash', done: 1, total: 2 };
const ticket = `sendall://192.168.1.20:8898/${'Tk-_'.repeat(16)}`;
const listening = { event: 'listening', address: 'tcp://[::]:8898', port: 8898, ticket };
const summary = { event: 'summary', files: 1, bytes: 1, bytes_on_wire: 90, seconds: 1, bottleneck: null };

const snapshot = 'laptop/2026-11-20T101233Z';
const entry = parseEntryName('a/b');

describe('fixtures/json-events.schema.json', () => {
  it('takes one of each event', () => {
    const events: (TransferEvent | KeyEvent | HookFailed | HistoryEvent)[] = [
      { event: 'listening', address: 'tcp://[::]:8898', port: 8898, ticket, addresses: ['tcp://10.0.0.1:8898'] },
      {
        event: 'listening',
        address: 'unix:/run/s.sock',
        port: null,
        ticket: `sendall://unix:/run/s.sock/${'0'.repeat(64)}`,
        addresses: ['unix:/run/s.sock'],
      },
      { event: 'started', file_name: 'a', file_size: 0 },
      { event: 'started', file_name: 'a', file_size: 9, resumed: 4 },
      { event: 'progress', file_name: 'a', phase: 'send', done: 5, total: 9, kept: 4 },
      { event: 'progress', file_name: 'a', phase: 'verify', done: 0, total: 0 },
      {
        event: 'received',
        file_name: 'a',
        file_size: 1,
        digests: { md5 },
        verified: 'cache',
        path: 'a',
        bytes_on_wire: 90,
        seconds: 0,
      },
      {
        event: 'sent',
        file_name: 'a',
        file_size: 1,
        digests: { md5 },
        verified: null,
        bytes_on_wire: 90,
        seconds: 0.5,
      },
      {
        event: 'sent',
        file_name: 'a',
        file_size: 1,
        digests: {},
        verified: 'device',
        bytes_on_wire: 90,
        seconds: 0.5,
        repaired: 3,
      },
      {
        event: 'received',
        file_name: 'a',
        file_size: 1,
        digests: {},
        verified: 'device',
        bytes_on_wire: 90,
        seconds: 0.5,
        repaired: 1,
      },
      { event: 'text', text: 'hello\nworld' },
      { event: 'text', text: '' },
      { event: 'skipped', file_name: 'a', reason: 'The same is there already.' },
      { event: 'failed', code: 'usage', message: 'Wrong.' },
      {
        event: 'drill',
        snapshot: 'laptop/2026-11-20T101233Z',
        files: 9,
        bytes: 100,
        failures: [{ file_name: 'a', code: 'mismatch', message: 'Damaged.' }],
        seconds: 1,
      },
      { event: 'failed', file_name: '', code: 'name', message: 'Empty.', hint: 'Rename it.' },
      { event: 'hook-failed', file_name: 'a', message: 'It ended with code 1.' },
      { event: 'hook-failed', snapshot: 'laptop/2026-11-20T101233Z', message: 'It ended with code 1.' },
      { event: 'hook-failed', message: '3 that waited are lost.' },
      { event: 'damaged', snapshot: 'laptop/2026-11-20T101233Z', path: 'a/b', reason: 'truncated' },
      { event: 'summary', files: 1, bytes: 2, bytes_on_wire: 0, seconds: 1, bottleneck: 'verify', verified: 'cache' },
      { event: 'summary', files: 0, bytes: 0, bytes_on_wire: 0, seconds: 0, bottleneck: 'hash' },
      { event: 'authorized', name: 'laptop', rights: 'write', id: md5, ticket },
      {
        event: 'authorization',
        name: 'laptop',
        rights: 'read',
        directory: '/srv',
        quota: 1,
        expires: '2027-01-31T00:00:00.000Z',
        id: md5,
      },
      { event: 'revoked', name: 'laptop' },
      { event: 'peer', name: 'nas', address: 'tcp://192.168.1.20:8898', id: md5 },
      { event: 'removed', name: 'nas' },
      {
        event: 'snapshot',
        snapshot,
        time: '2026-11-20T10:12:33.000Z',
        entries: 1,
        bytes: 1,
        new_bytes: 0,
        missing: 0,
        verified_at: null,
      },
      {
        event: 'snapshot',
        snapshot,
        time: '2026-11-20T10:12:33.000Z',
        entries: 0,
        bytes: 0,
        new_bytes: 0,
        missing: 2,
        verified_at: '2026-11-21T10:12:33.000Z',
      },
      { event: 'kept', snapshot, reasons: ['newest', 'within'] },
      { event: 'removed', snapshot, freed_bytes: 0 },
      { event: 'removed', snapshot, freed_bytes: 1, dry_run: true },
      { event: 'kept', snapshot, reasons: ['future', 'content'] },
      { event: 'taken-out', snapshot, path: entry, entries: 2, bytes: 9, freed_bytes: 0 },
      { event: 'taken-out', snapshot, path: entry, entries: 1, bytes: 9, dry_run: true },
      { event: 'shrunk', snapshot, path: entry, entries: 0, before: 400 },
      { event: 'foreign', path: 'laptop/something' },
      { event: 'adopted', snapshot, entries: 3, bytes: 9 },
      { event: 'adopted', snapshot, entries: 3, bytes: 9, damaged: true },
      { event: 'not-adopted', snapshot, reason: 'It is not as its manifest says.' },
      { event: 'forgotten', snapshot },
      { event: 'registered', name: 'laptop', owner: md5, snapshots: 4 },
      { event: 'added', path: entry, type: 'symlink' },
      { event: 'removed', path: entry, type: 'file', bytes: 1, missing: 'It could not be read.' },
      { event: 'changed', path: entry, type: 'file', what: 'metadata', bytes: 1 },
    ];
    for (const event of events) expectEvent(event);
  });

  it('takes the time of each event, and the transfer of those that one may tell of', () => {
    const of = '0123456789abcdef'.repeat(2);
    const told: PrintedEvent[] = [
      { event: 'lost', what: 'mode', entries: 1, file_name: 'a', message: 'It has no modes.' },
      { event: 'connection', state: 'back' },
      { event: 'text', text: 'hello' },
      { event: 'damaged', snapshot, path: 'a/b', reason: 'truncated' },
      { event: 'repaired', snapshot, path: 'a/b' },
      { event: 'foreign', path: 'laptop/something' },
      { event: 'shrunk', snapshot, path: entry, entries: 0, before: 400 },
      { event: 'hook-failed', snapshot, message: 'It ended with code 1.' },
      {
        event: 'snapshot',
        snapshot,
        time: '2026-11-20T10:12:33.000Z',
        entries: 1,
        bytes: 1,
        new_bytes: 0,
        missing: 0,
        verified_at: null,
      },
    ];
    const others: PrintedEvent[] = [
      { event: 'kept', snapshot, reasons: ['newest'] },
      { event: 'removed', snapshot, freed_bytes: 1, dry_run: true },
      { event: 'group', name: 'family', peers: ['nas'] },
      { event: 'peer', name: 'nas', address: 'tcp://192.168.1.20:8898', id: md5 },
      { event: 'authorized', name: 'laptop', rights: 'write', id: md5, ticket },
      { event: 'relaying', port: 4001 },
      { event: 'taken-out', snapshot, path: entry, entries: 2, bytes: 9, freed_bytes: 0 },
    ];
    for (const event of [...told, ...others]) expectEvent(JSON.parse(jsonLine(event)));
    for (const event of told) expectEvent(JSON.parse(jsonLine(event, of)));
    expectEvent(
      JSON.parse(
        jsonLine({ event: 'lost', what: 'link', entries: 1, file_name: 'a', message: 'x', receiver: 'nas' }, of),
      ),
    );
  });

  it('takes a time with every kind of event', () => {
    const schema = readFileSync(join(__dirname, '..', '..', 'fixtures', 'json-events.schema.json'), 'utf8');
    const { $defs } = JSON.parse(schema) as { $defs: Record<string, { properties?: Record<string, unknown> }> };
    const events = Object.entries($defs).filter(([, { properties }]) => properties?.['event'] !== undefined);
    const without = events.flatMap(([name, { properties }]) => (properties?.['time'] === undefined ? [name] : []));
    expect(without).to.deep.equal([]);
  });

  const refused: unknown[] = [
    {},
    [],
    'sent',
    { event: 'finished' },
    { ...sent, event: 'received' }, // a receiver never reports what it has not verified
    { ...sent, verified: 'yes' },
    { ...sent, verified: undefined },
    { ...sent, more: 1 },
    { ...sent, file_size: -1 },
    { ...sent, file_size: 1.5 },
    { ...sent, file_size: '1' },
    { ...sent, digests: { md5: md5.toUpperCase() } },
    { ...sent, digests: { sha256: md5 } },
    { ...sent, digests: { crc32: '00000000' } },
    { ...sent, path: '' },
    { ...progress, phase: 'flush' },
    { ...progress, done: 2 ** 60 },
    { ...progress, file_name: undefined },
    { ...summary, bottleneck: 'disk' },
    { ...summary, seconds: -1 },
    { event: 'failed', code: 'oops', message: 'x' },
    { event: 'failed', code: 'usage' },
    { event: 'failed', code: 'usage', message: '' },
    { ...sent, repaired: 0 },
    { event: 'hook-failed', file_name: 'a' },
    { event: 'hook-failed', file_name: 'a', message: 'x', code: 'unexpected' },
    { event: 'text' },
    { event: 'text', text: 'x', file_name: 'a' },
    { ...listening, port: 0 },
    { ...listening, ticket: undefined },
    { ...listening, ticket: null }, // every listener has one
    { ...listening, ticket: 'sendall://192.168.1.20:8898/short' },
    { event: 'skipped', file_name: 'a' },
    { event: 'started', file_name: 'a', file_size: null },
    { event: 'authorization', name: 'laptop', rights: 'write', id: md5, ticket }, // shown once only
    { event: 'authorized', name: 'laptop', rights: 'write', id: md5 },
    { event: 'authorized', name: 'laptop', rights: 'delete', id: md5, ticket },
    { event: 'peer', name: 'nas', address: 'tcp://192.168.1.20:8898', id: md5, key: 'secret' },
    { event: 'kept', snapshot, reasons: [] },
    { event: 'kept', snapshot, reasons: ['luck'] },
    { event: 'removed', snapshot },
    { event: 'removed', snapshot: 'laptop', freed_bytes: 1 },
    { event: 'removed', path: 'a', type: 'missing' },
    { event: 'changed', path: 'a', type: 'file' },
    { event: 'snapshot', snapshot, time: '2026-11-20T10:12:33.000Z', entries: 1, bytes: 1, new_bytes: 0, missing: 0 },
    { event: 'peer', name: '../nas', address: 'tcp://192.168.1.20:8898', id: md5 },
  ];
  for (const event of refused) {
    it(`refuses ${JSON.stringify(event)}`, () => {
      expect(isEvent(JSON.parse(JSON.stringify(event)))).to.equal(false);
    });
  }
});

describe('cli: --json', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sendall-json-'));
  const options = { cwd: directory };
  after(() => rmSync(directory, { recursive: true }));

  it('prints nothing but events of the schema, from listening to the summary, on both sides', async () => {
    mkdirSync(join(directory, 'in'), { mode: 0o755 });
    writeFileSync(join(directory, 'large'), Buffer.alloc(3 * 1024 ** 2));
    writeFileSync(join(directory, 'taken'), 'new');
    writeFileSync(join(directory, 'in', 'taken'), 'old');
    const receiver = new SendallProcess(['receive', 'in', '--once', '--json', '--listen', '127.0.0.1:0'], options);
    const [, target = ''] = await receiver.says(/"address":"([^"]+)"/);
    const sender = await sendall(['send', 'large', 'taken', 'missing', target, '--json', '--limit', '4M'], options);
    const ended = await receiver.ended;

    for (const side of [sender, ended]) {
      expect(side.stdout).to.match(/^(\{.*\}\n)+$/);
      for (const event of printedEventsOf(side)) {
        expectEvent(event);
        expect(event.time).to.be.a('string');
      }
      expect(side.code).to.equal(8);
    }
    const kinds = (events: readonly TransferEvent[]): string[] => [...new Set(events.map(({ event }) => event))].sort();
    expect(kinds(eventsOf(sender))).to.deep.equal(['failed', 'progress', 'sent', 'started', 'summary']);
    expect(kinds(eventsOf(ended))).to.deep.equal(['failed', 'listening', 'progress', 'received', 'started', 'summary']);
    expect(eventsOf(sender).at(-1)).to.include({ event: 'summary', files: 1 });
    expect(eventsOf(ended).at(-1)).to.include({ event: 'summary', files: 1 });
    const failed = eventsOf(sender).flatMap((event) => (event.event === 'failed' ? [event.file_name] : []));
    expect(failed.sort()).to.deep.equal(['missing', 'taken']);
  });

  it('prints nothing but events of the schema in a session, words and refusals included, on both sides', async () => {
    mkdirSync(join(directory, 'session'), { mode: 0o755 });
    writeFileSync(join(directory, 'fresh'), Buffer.alloc(3 * 1024 ** 2, 7));
    writeFileSync(join(directory, 'standing'), 'new');
    writeFileSync(join(directory, 'session', 'standing'), 'old');
    const receiver = new SendallProcess(['receive', 'session', '--once', '--json', '--listen', '127.0.0.1:0'], options);
    const [, target = ''] = await receiver.says(/"ticket":"([^"]+)"/);
    const sender = await sendall(
      ['send', 'fresh', 'standing', 'missing', target, '--text', 'look\u001b[2J', '--json'],
      options,
    );
    const ended = await receiver.ended;
    for (const side of [sender, ended]) {
      expect(side.stdout)
        .to.match(/^(\{.*\}\n)+$/)
        .and.not.include('\u001b');
      for (const event of printedEventsOf(side)) {
        expectEvent(event);
        expect(event.time).to.be.a('string');
      }
      expect(eventsOf(side).find((event) => event.event === 'text')).to.deep.equal({
        event: 'text',
        text: 'look\u001b[2J',
      });
      expect(eventsOf(side).at(-1)).to.include({ event: 'summary', files: 1 });
      expect(side.code).to.equal(8);
    }
    const idsOf = (side: Ended): Set<unknown> =>
      new Set(printedEventsOf(side).flatMap(({ event, id }) => (event === 'listening' ? [] : [id])));
    expect([...idsOf(sender)]).to.have.length(1);
    expect(idsOf(sender)).to.deep.equal(idsOf(ended));
    const received = printedEventsOf(ended).find(({ event }) => event === 'received');
    expect(received?.directory).to.equal(join(directory, 'session'));
    expect(eventsOf(ended).filter(({ event }) => event === 'received')).to.have.lengthOf(1);
  });

  it('tells of progress at least twice a second', async () => {
    mkdirSync(join(directory, 'slow'), { mode: 0o755 });
    writeFileSync(join(directory, 'slowly'), Buffer.alloc(8 * 1024 ** 2, 1));
    const receiver = new SendallProcess(['receive', 'slow', '--once', '--json', '--listen', '127.0.0.1:0'], options);
    const [, target = ''] = await receiver.says(/"address":"([^"]+)"/);
    const sender = await sendall(['send', 'slowly', target, '--json', '--limit', '4M'], options);
    for (const [side, phase] of [
      [sender, 'send'],
      [await receiver.ended, 'receive'],
    ] as const) {
      const steps = eventsOf(side).flatMap((event) =>
        event.event === 'progress' && event.phase === phase ? [event.done] : [],
      );
      const { seconds } = eventsOf(side).findLast((event) => event.event === 'summary') ?? { seconds: 0 };
      expect(steps.length, phase).to.be.at.least(Math.floor((seconds - 0.5) * 2));
      expect(Math.max(...steps), phase).to.be.at.least(1024 ** 2);
    }
  });
});
