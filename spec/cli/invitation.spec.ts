import { expect } from 'chai';
import { codeLine, invitationLines, invites, waitsAtRelay } from '../../cli/invitation';

const addresses = ['tcp://192.168.1.20:9000', 'tcp://[2001:db8::5]:9000'];
const command = 'send FILE' as const;

describe('cli/invitation', () => {
  it('names loopback for a listener on all addresses that takes nobody else', () => {
    const address = 'tcp://[::]:8898';
    expect(invitationLines({ command, address, addresses, insecurePlain: false })).to.deep.equal([
      'sendall send FILE tcp://127.0.0.1:8898',
    ]);
  });

  it('names every address for a listener that takes others, and the option that the other side needs', () => {
    const address = 'tcp://[::]:9000';
    expect(invitationLines({ command, address, addresses, insecurePlain: true })).to.deep.equal([
      'sendall send --insecure-plain FILE tcp://192.168.1.20:9000',
      "sendall send --insecure-plain FILE 'tcp://[2001:db8::5]:9000'",
    ]);
  });

  it('leads by a code to the network, to an address, or to the relay at which it waits', () => {
    const invitation = {
      command,
      address: 'tcp://[::]:8898',
      addresses,
      insecurePlain: false,
      code: '4821-crane-velvet',
    };
    expect(codeLine({ ...invitation, addresses: [] })).to.equal('sendall send FILE 4821-crane-velvet');
    expect(codeLine(invitation)).to.equal('sendall send FILE 4821-crane-velvet@192.168.1.20:9000');
    const ticket = 'sendall://192.168.1.20:8898/TOKEN?relay=';
    expect(
      [`${ticket}relay.example.org:4001`, `${ticket}[::1]:5&pass=0`, ticket.replace(/\?.*/, '')].map(waitsAtRelay),
    ).to.deep.equal([true, true, false]);
    expect(codeLine({ ...invitation, addresses: [] }, `${ticket}relay.example.org:4001`)).to.equal(
      'sendall send FILE 4821-crane-velvet --relay relay.example.org',
    );
    expect(codeLine({ ...invitation, command: 'receive --from', addresses: [] }, `${ticket}[::1]:5&pass=0`)).to.equal(
      "sendall receive DIR 4821-crane-velvet --relay '[::1]:5' --relay-password-file FILE",
    );
  });

  it('repeats the address that was asked for', () => {
    const repeated = (address: string, insecurePlain: boolean): string[] =>
      invitationLines({ command: 'receive --from', address, addresses: [address], insecurePlain });
    expect(repeated('tcp://127.0.0.1:7', false)).to.deep.equal(['sendall receive --from tcp://127.0.0.1:7']);
    expect(repeated('tcp://10.0.0.1:7', true)).to.deep.equal([
      'sendall receive --insecure-plain --from tcp://10.0.0.1:7',
    ]);
  });

  it('quotes the path of a unix socket for the shell', () => {
    expect(
      invitationLines({ command, address: 'unix:/run/s.sock', addresses: [], insecurePlain: false }),
    ).to.deep.equal(['sendall send FILE unix:/run/s.sock']);
    expect(
      invitationLines({ command, address: "unix:/tmp/it's $HOME", addresses: [], insecurePlain: false }),
    ).to.deep.equal([String.raw`sendall send FILE 'unix:/tmp/it'\''s $HOME'`]);
  });

  it('knows who can come', () => {
    const invitation = { command, address: 'tcp://[::]:8898', insecurePlain: true };
    expect(invites(invitation)).to.equal('others');
    expect(invites({ ...invitation, insecurePlain: false })).to.equal('this machine');
    expect(invites({ ...invitation, address: 'tcp://127.0.0.1:1' })).to.equal('loopback');
    expect(invites({ ...invitation, address: 'unix:/s' })).to.equal('loopback');
  });
});
