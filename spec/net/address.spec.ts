import { expect } from 'chai';
import { TransferError } from '../../lib/errors';
import {
  formatAddress,
  isLoopback,
  isPlainTarget,
  parseAddress,
  parseAnnounced,
  parseListenAddress,
  parseRelay,
  parseWebAddress,
} from '../../lib/net/address';

describe('an address', () => {
  const good = {
    'tcp://192.168.1.20:9000': { kind: 'tcp', host: '192.168.1.20', port: 9000 },
    'tcp://192.168.1.20': { kind: 'tcp', host: '192.168.1.20', port: 8898 },
    'example.com:1': { kind: 'tcp', host: 'example.com', port: 1 },
    '[::]:0': { kind: 'tcp', host: '::', port: 0 },
    'tcp://[fe80::1%eth0]:65535/': { kind: 'tcp', host: 'fe80::1%eth0', port: 65535 },
    '[fe80::1%br-lan]': { kind: 'tcp', host: 'fe80::1%br-lan', port: 8898 },
    'unix:/run/a b:c.sock': { kind: 'unix', path: '/run/a b:c.sock' },
    'unix:relative': { kind: 'unix', path: 'relative' },
  };
  for (const [text, address] of Object.entries(good)) {
    it(`${text} is read, and what is shown of it is read as the same`, () => {
      const parsed = parseAddress(text);
      expect(parsed).to.deep.equal(address);
      expect(parseAddress(formatAddress(parsed))).to.deep.equal(parsed);
    });
  }

  for (const text of [
    '',
    'unix:',
    'unix:a\0b',
    'http://a',
    'tcp://',
    'a:b',
    'a:65536',
    'a:123456',
    '8898',
    'tcp://999999',
    '::1:80',
    'user@host:1',
    'tcp://a b:1',
    'tcp://a/b',
    '[::1',
    ':80',
  ]) {
    it(`${JSON.stringify(text)} is refused with usage`, () => {
      expect(() => parseAddress(text))
        .to.throw(TransferError)
        .with.property('code', 'usage');
    });
  }

  it('to listen at may be a port alone: of all addresses of this machine', () => {
    for (const text of ['9000', ':9000'])
      expect(parseListenAddress(text)).to.deep.equal({ kind: 'tcp', host: '::', port: 9000 });
    expect(parseListenAddress('localhost:9000')).to.deep.equal({ kind: 'tcp', host: 'localhost', port: 9000 });
    for (const text of ['', ':', ':65536', ':123456'])
      expect(() => parseListenAddress(text))
        .to.throw(TransferError)
        .with.property('code', 'usage');
  });

  it('without a port is at the usual one of what is meant', () => {
    for (const host of ['a.example', 'tcp://a.example', 'tcp://a.example/', '[::1]', 'tcp://[::1]']) {
      const ports = [parseAddress, parseWebAddress, parseRelay, (text: string) => parseAnnounced(text, 77)].map(
        (read) => (read(host) as { readonly port?: number }).port,
      );
      expect(ports, host).to.deep.equal([8898, 8899, 4001, 77]);
      const said = [parseAddress, parseWebAddress, parseRelay, (text: string) => parseAnnounced(text, 77)].map(
        (read) => (read(`${host.replace(/\/$/, '')}:9`) as { readonly port?: number }).port,
      );
      expect(said, host).to.deep.equal([9, 9, 9, 9]);
    }
    for (const text of ['unix:a', 'a:0', 'a b', '9', ''])
      for (const read of [parseRelay, parseAnnounced])
        expect(() => read(text), text)
          .to.throw(TransferError)
          .with.property('hint')
          .that.matches(/^It looks like /);
  });

  it('loopback is what belongs to this machine alone', () => {
    for (const ip of ['127.0.0.1', '127.255.1.2', '::1', '::ffff:127.0.0.1']) expect(isLoopback(ip), ip).to.equal(true);
    for (const ip of [
      '',
      '128.0.0.1',
      '10.0.0.1',
      '::',
      '::2',
      'fe80::1',
      '::ffff:10.0.0.1',
      '127.0.0.1.example.com',
      '1127.0.0.1',
      'localhost',
    ])
      expect(isLoopback(ip), ip).to.equal(false);
  });

  it('a target says by itself that it is the plain wire', () => {
    expect(['tcp://a', 'unix:a'].every(isPlainTarget)).to.equal(true);
    expect(['a:1', 'sendall://a', 'TCP://a', './tcp://a'].some(isPlainTarget)).to.equal(false);
  });
});
