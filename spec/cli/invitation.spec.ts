import { expect } from 'chai';
import type { NetworkInterfaceInfo } from 'node:os';
import { invitationLines, invites } from '../../cli/invitation';

const found = (address: string, internal = false): NetworkInterfaceInfo =>
  ({ address, internal, family: address.includes(':') ? 'IPv6' : 'IPv4' }) as NetworkInterfaceInfo;
const interfaces = {
  lo: [found('127.0.0.1', true), found('::1', true)],
  eth0: [found('2001:db8::5'), found('fe80::1'), found('192.168.1.20')],
};
const command = 'send FILE' as const;

describe('cli/invitation', () => {
  it('names loopback for a listener on all addresses that takes nobody else', () => {
    expect(invitationLines({ command, address: 'tcp://[::]:8898', insecurePlain: false }, interfaces)).to.deep.equal([
      'sendall send FILE tcp://127.0.0.1:8898',
    ]);
  });

  it('names every address for a listener that takes others, and the option that the other side needs', () => {
    const invitation = { command, address: 'tcp://[::]:9000', insecurePlain: true };
    expect(invitationLines(invitation, interfaces)).to.deep.equal([
      'sendall send --insecure-plain FILE tcp://192.168.1.20:9000',
      'sendall send --insecure-plain FILE tcp://[2001:db8::5]:9000',
    ]);
    expect(invitationLines({ ...invitation, address: 'tcp://0.0.0.0:9000' }, interfaces)).to.deep.equal([
      'sendall send --insecure-plain FILE tcp://192.168.1.20:9000',
    ]);
    expect(invitationLines(invitation, {})).to.deep.equal(['sendall send FILE tcp://127.0.0.1:9000']);
  });

  it('repeats the address that was asked for', () => {
    expect(
      invitationLines({ command: 'receive --from', address: 'tcp://[::1]:7', insecurePlain: false }),
    ).to.deep.equal(['sendall receive --from tcp://[::1]:7']);
    expect(
      invitationLines({ command: 'receive --from', address: 'tcp://10.0.0.1:7', insecurePlain: true }),
    ).to.deep.equal(['sendall receive --insecure-plain --from tcp://10.0.0.1:7']);
  });

  it('quotes the path of a unix socket for the shell', () => {
    expect(invitationLines({ command, address: 'unix:/run/s.sock', insecurePlain: false })).to.deep.equal([
      'sendall send FILE unix:/run/s.sock',
    ]);
    expect(invitationLines({ command, address: "unix:/tmp/it's $HOME", insecurePlain: false })).to.deep.equal([
      String.raw`sendall send FILE 'unix:/tmp/it'\''s $HOME'`,
    ]);
  });

  it('knows who can come', () => {
    const invitation = { command, address: 'tcp://[::]:8898', insecurePlain: true };
    expect(invites(invitation)).to.equal('others');
    expect(invites({ ...invitation, insecurePlain: false })).to.equal('this machine');
    expect(invites({ ...invitation, address: 'tcp://127.0.0.1:1' })).to.equal('loopback');
    expect(invites({ ...invitation, address: 'unix:/s' })).to.equal('loopback');
  });
});
