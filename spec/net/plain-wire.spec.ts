import { expect } from 'chai';
import { keepsOwner, rowOf } from '../../lib/net/peer-user';
import { type PlainWire, plainRefusal } from '../../lib/net/plain-wire';
import type { Dialed } from '../../lib/net/socket';

const own = process.geteuid?.() ?? 0;
const from = (local: boolean, user?: Dialed['user']): Dialed => ({
  stream: undefined as never,
  peer: 'tcp://127.0.0.1:1',
  own: '',
  local,
  user,
});

describe('who may speak the plain wire', () => {
  const table: readonly (readonly [PlainWire, boolean, Dialed['user'], boolean])[] = [
    ['own', true, own, true],
    ['own', true, 0, true],
    ['own', true, own + 7, false],
    ['own', true, 'closed', false],
    ['own', true, 'unknown', true],
    ['own', false, undefined, false],
    ['any', true, own + 7, true],
    ['any', false, undefined, true],
    ['off', true, own, false],
    ['off', true, 0, false],
  ];
  for (const [wire, local, user, taken] of table) {
    it(`${wire}: ${local ? `user ${String(user)}` : 'another machine'} ${taken ? 'may' : 'may not'}`, () => {
      const refusal = plainRefusal(from(local, user), wire);
      expect(refusal?.code).to.equal(taken ? undefined : 'not-authorized');
    });
  }
});

describe('the table of sockets in /proc', () => {
  const tcp = [
    '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode',
    '   0: 0100007F:22C2 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 1 0 100 0 0 10 0',
    '   1: 0100007F:C362 0100007F:22C2 01 00000000:00000000 00:00000000 00000000  1000        0 4711 2 0 20 0 0 11 -1',
    '   2: 0100007F:C363 0100007F:22C2 04 00000001:00000000 01:00000014 00000000  1000        0 0 2 0 20 0 0 11 -1',
    '   3: 0100007F:C364 0100007F:22C2 05 00000000:00000000 03:00001770 00000000     0        0 0 3 0',
    '',
  ].join('\n');
  const tcp6 = [
    '  sl  local_address rem_address st …',
    '   0: 00000000000000000000000001000000:C365 00000000000000000000000001000000:22C2 01 00000000:00000000 00:00000000 00000000  1001        0 4712 1 0',
    '   1: 0000000000000000FFFF00000100007F:C366 0000000000000000FFFF00000100007F:22C2 01 00000000:00000000 00:00000000 00000000  1002        0 4713 1 0',
    '',
  ].join('\n');
  const look = (host: string, port: number): ReturnType<typeof rowOf> =>
    rowOf({ host, port }, { host, port: 8898 }, (table) => (table === 'tcp' ? tcp : tcp6));

  it('tells the owner of a socket, whether a process has it open, and what only remains of one', () => {
    expect(look('127.0.0.1', 0xc362)).to.deep.equal({ uid: 1000, inode: 4711, remains: false });
    expect(look('127.0.0.1', 0xc363)).to.deep.equal({ uid: 1000, inode: 0, remains: false });
    expect(look('127.0.0.1', 0xc364)).to.include({ inode: 0, remains: true });
    expect(look('127.0.0.1', 1)).to.equal(undefined);
  });

  it('has IPv6, and IPv4 of a socket of IPv6', () => {
    expect(look('::1', 0xc365)).to.include({ uid: 1001, inode: 4712 });
    expect(look('127.0.0.1', 0xc366)).to.include({ uid: 1002, inode: 4713 });
  });

  it('is believed of closed sockets from Linux 6.17 on', () => {
    expect(['5.15.0-91-generic', '6.1.0', '6.16.9', '6.17.0-rc1', '6.18.44', '7.0'].map(keepsOwner)).to.deep.equal([
      false,
      false,
      false,
      true,
      true,
      true,
    ]);
  });
});
