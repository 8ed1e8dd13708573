import { inspect } from 'node:util';
import { expect } from 'chai';
import { TransferError } from '../../lib/errors';
import type { Address } from '../../lib/net/address';
import { createKey, formatTicket, isTicket, parseTicket } from '../../lib/net/ticket';

const token = Buffer.from(Array.from({ length: 48 }, (_, at) => at * 5)).toString('base64url');

describe('a ticket', () => {
  const addresses: readonly [string, Address][] = [
    ['sendall://192.168.1.20:9000', { kind: 'tcp', host: '192.168.1.20', port: 9000 }],
    ['sendall://backup.example.com:8898', { kind: 'tcp', host: 'backup.example.com', port: 8898 }],
    ['sendall://[fe80::1%eth0]:1', { kind: 'tcp', host: 'fe80::1%eth0', port: 1 }],
    ['sendall://unix:/run/a b/to.sock', { kind: 'unix', path: '/run/a b/to.sock' }],
    ['sendall://unix:relative', { kind: 'unix', path: 'relative' }],
  ];
  for (const [text, address] of addresses) {
    it(`${text}/TOKEN carries its address, id and key there and back`, () => {
      const key = createKey();
      const written = formatTicket({ ...key, address });
      expect(written.slice(0, -64)).to.equal(`${text}/`);
      const read = parseTicket(written);
      expect(read.address).to.deep.equal(address);
      expect(read.id).to.equal(key.id);
      expect([...read.key]).to.deep.equal([...key.key]);
    });
  }

  it('is 16 bytes of id and 32 bytes of key, as base64url', () => {
    const { id, key, address } = parseTicket(`sendall://example.com/${token}`);
    expect(id).to.equal('00050a0f14191e23282d32373c41464b');
    expect([...key]).to.deep.equal(Array.from({ length: 32 }, (_, at) => (at + 16) * 5));
    expect(key).to.have.length(32);
    expect(address).to.deep.equal({ kind: 'tcp', host: 'example.com', port: 8898 });
  });

  it('has a new random key each time', () => {
    const keys = Array.from({ length: 50 }, createKey);
    expect(new Set(keys.map(({ id }) => id)).size).to.equal(50);
    expect(new Set(keys.map(({ key }) => Buffer.from(key).toString('hex'))).size).to.equal(50);
    for (const { id, key } of keys) {
      expect(id).to.match(/^[0-9a-f]{32}$/);
      expect(key).to.have.length(32);
    }
  });

  const bad = {
    'no scheme': `example.com:1/${token}`,
    'another scheme': `tcp://example.com:1/${token}`,
    'capitals in the scheme': `SENDALL://example.com:1/${token}`,
    'no token': 'sendall://example.com:1',
    'an empty token': 'sendall://example.com:1/',
    'a token where the address belongs': `sendall://${token}`,
    'a token without an address': `sendall:///${token}`,
    'one character less': `sendall://example.com:1/${token.slice(1)}`,
    'one character more': `sendall://example.com:1/${token}A`,
    padding: `sendall://example.com:1/${token}==`,
    'base64 that is not base64url': `sendall://example.com:1/+${token.slice(1)}`,
    'a space after it': `sendall://example.com:1/${token} `,
    'a newline after it': `sendall://example.com:1/${token}\n`,
    'a slash after it': `sendall://example.com:1/${token}/`,
    'two tokens': `sendall://example.com:1/${token}/${token}`,
    'two slashes': `sendall://example.com:1//${token}`,
    'the token as the user': `sendall://${token}@example.com:1/${token}`,
    'a port that does not exist': `sendall://example.com:65536/${token}`,
    'a port that nobody can dial': `sendall://example.com:0/${token}`,
    'an address with a scheme of its own': `sendall://tcp://example.com:1/${token}`,
    'unix without a path': `sendall://unix:/${token}`,
    'NUL in a path': `sendall://unix:/a\0b/${token}`,
  };
  for (const [what, text] of Object.entries(bad)) {
    it(`with ${what} is refused with usage, and nothing of it is repeated`, () => {
      let error: unknown;
      try {
        parseTicket(text);
      } catch (thrown) {
        error = thrown;
      }
      expect(error).to.be.instanceOf(TransferError).with.property('code', 'usage');
      expect(inspect(error, { depth: 9, showHidden: true }))
        .to.not.include(token.slice(1, 20))
        .and.not.include('example.com');
    });
  }

  it('shows its key to nobody who prints it', () => {
    const ticket = parseTicket(`sendall://example.com:1/${token}`);
    const shown = [
      inspect(ticket),
      inspect(ticket.key),
      JSON.stringify(ticket),
      `${String(ticket.key)}`,
      ticket.key.toLocaleString(),
      ticket.key.join(),
      inspect(createKey()),
      inspect({ ...ticket }),
    ];
    for (const text of shown) {
      expect(text).to.include('(secret)');
      expect(text).to.not.match(/80, ?85|80,85|"0":80|50 ?55 ?5a|UFVa/);
    }
  });

  it('cannot be written of a key of the wrong size', () => {
    const { id, key } = createKey();
    const address = { kind: 'tcp', host: 'a', port: 1 } as const;
    for (const wrong of [
      { id, key: key.slice(1) },
      { id: id.slice(2), key },
      { id: 'x'.repeat(32), key },
    ]) {
      expect(() => formatTicket({ ...wrong, address }))
        .to.throw(TransferError)
        .with.property('code', 'usage');
    }
  });

  it('is told by its scheme, whole or broken', () => {
    expect([`sendall://a/${token}`, 'sendall://', 'sendall://typo'].every(isTicket)).to.equal(true);
    expect(['tcp://a', 'sendall:a', 'laptop', ' sendall://a'].some(isTicket)).to.equal(false);
  });
});
