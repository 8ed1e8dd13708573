import { hostname, type NetworkInterfaceInfo } from 'node:os';
import { expect } from 'chai';
import { ownHost } from '../../lib/net/own-address';

const found = (address: string, internal = false): NetworkInterfaceInfo =>
  ({ address, internal, family: address.includes(':') ? 'IPv6' : 'IPv4' }) as NetworkInterfaceInfo;
const lo = [found('127.0.0.1', true), found('::1', true)];

describe('lib/net/own-address', () => {
  it('is the first address that others can reach, IPv4 before IPv6', () => {
    expect(
      ownHost({
        lo,
        eth0: [found('2001:db8::5'), found('fe80::1'), found('192.168.1.20')],
        wlan0: [found('10.0.0.7')],
      }),
    ).to.equal('192.168.1.20');
    expect(ownHost({ lo, eth0: [found('fe80::1'), found('2001:db8::5')] })).to.equal('2001:db8::5');
  });

  it('is not one that was made up for want of a network, nor that of a network for guests unless there is no other', () => {
    expect(
      ownHost({ docker0: [found('172.17.0.1')], eth0: [found('169.254.3.4')], eth1: [found('10.0.0.7')] }),
    ).to.equal('10.0.0.7');
    expect(ownHost({ docker0: [found('172.17.0.1')], eth0: [found('2001:db8::5')] })).to.equal('2001:db8::5');
    expect(ownHost({ lo, docker0: [found('172.17.0.1')] })).to.equal('172.17.0.1');
  });

  it('is the host name where no address is left', () => {
    expect(ownHost({ lo, eth0: [found('fe80::1')] })).to.equal(hostname());
    expect(ownHost()).to.be.a('string').and.not.equal('');
  });
});
