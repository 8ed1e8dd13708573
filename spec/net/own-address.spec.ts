import { hostname, type NetworkInterfaceInfo } from 'node:os';
import { expect } from 'chai';
import { dialable, ownHosts, rankHosts } from '../../lib/net/own-address';

const found = (address: string, internal = false): NetworkInterfaceInfo =>
  ({ address, internal, family: address.includes(':') ? 'IPv6' : 'IPv4' }) as NetworkInterfaceInfo;
const lo = [found('127.0.0.1', true), found('::1', true)];

describe('lib/net/own-address', () => {
  it('has the address of the default route first, whatever the interfaces are called, and then the others', () => {
    const interfaces = {
      lo,
      docker0: [found('172.17.0.1')],
      tun0: [found('10.8.0.2')],
      eth0: [found('192.168.1.20'), found('2001:db8:1::5'), found('2001:db8:1::6'), found('fe80::1')],
      wlan0: [found('10.0.0.7')],
    };
    const sources = ['192.168.1.20', '2001:db8:1::6'];
    expect(rankHosts(interfaces, sources)).to.deep.equal(['192.168.1.20', '2001:db8:1::6', '10.8.0.2', '10.0.0.7']);
    expect(rankHosts(interfaces)).to.deep.equal(['10.8.0.2', '192.168.1.20', '10.0.0.7', '2001:db8:1::5']);
  });

  it('has none that was made up for want of a network, and those of guests and of one link only where there is no other', () => {
    expect(
      rankHosts({ docker0: [found('172.17.0.1')], eth0: [found('169.254.3.4')], eth1: [found('10.0.0.7')] }),
    ).to.deep.equal(['10.0.0.7']);
    expect(rankHosts({ lo, docker0: [found('172.17.0.1')] })).to.deep.equal(['172.17.0.1']);
    expect(rankHosts({ lo, eth0: [found('fe80::1')] })).to.deep.equal(['fe80::1']);
    expect(rankHosts({ lo })).to.deep.equal([hostname()]);
    return ownHosts().then((hosts) => expect(hosts[0]).to.be.a('string').and.not.equal(''));
  });

  it('takes what its user announces, with the port that is listened on where none is said', async () => {
    const listening = { kind: 'tcp', host: '::', port: 9000 } as const;
    expect(
      await dialable(listening, ['nas.example.org', '203.0.113.7:80', '[2001:db8::1]', '[2001:db8::1]:7']),
    ).to.deep.equal([
      { kind: 'tcp', host: 'nas.example.org', port: 9000 },
      { kind: 'tcp', host: '203.0.113.7', port: 80 },
      { kind: 'tcp', host: '2001:db8::1', port: 9000 },
      { kind: 'tcp', host: '2001:db8::1', port: 7 },
    ]);
    for (const bad of ['0.0.0.0', '[::]:7', 'a:0', 'unix:/s', 'a b'])
      expect(await dialable(listening, [bad]).catch(({ code }: { code: string }) => code), bad).to.equal('usage');
    expect(await dialable({ kind: 'tcp', host: 'fe80::1%eth0', port: 7 })).to.deep.equal([
      { kind: 'tcp', host: 'fe80::1', port: 7 },
    ]);
  });
});
