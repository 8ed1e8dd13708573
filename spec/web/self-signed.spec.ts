import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { expect } from 'chai';
import { selfSigned } from '../../lib/web/self-signed';

describe('a certificate that nobody vouches for', () => {
  const hosts = ['192.168.1.20', '2001:db8::1:0:5', '::1', '::ffff:10.0.0.1', 'files.example.org', 'localhost'];

  it('is for the hosts of its page and nothing else, signed by its own key', () => {
    const made = selfSigned(hosts);
    const certificate = new X509Certificate(made.certificate);
    for (const host of ['192.168.1.20', '2001:db8:0:0:0:1:0:5', '::1', '::ffff:10.0.0.1'])
      expect(certificate.checkIP(host), host).to.equal(host);
    for (const host of ['files.example.org', 'localhost']) expect(certificate.checkHost(host)).to.equal(host);
    for (const other of ['192.168.1.21', '::2']) expect(certificate.checkIP(other)).to.equal(undefined);
    expect(certificate.checkHost('example.org')).to.equal(undefined);
    expect(certificate.ca).to.equal(false);
    expect(certificate.verify(certificate.publicKey)).to.equal(true);
    expect(certificate.fingerprint256.replaceAll(':', '').toLowerCase()).to.equal(made.sha256);
    expect(selfSigned(hosts).sha256).to.not.equal(made.sha256);
  });

  it('is good from yesterday on for a year, before and after 2050', () => {
    for (const now of [Date.UTC(2026, 10, 30), Date.UTC(2049, 5, 1), Date.UTC(2060, 0, 1)]) {
      const { validFrom, validTo } = new X509Certificate(selfSigned(['localhost'], now).certificate);
      expect([Date.parse(validFrom), Date.parse(validTo)]).to.deep.equal([now - 86_400_000, now + 365 * 86_400_000]);
    }
  });

  it('lets in who has compared it, by the name that it is for', async () => {
    const { certificate, key } = selfSigned(['127.0.0.1', 'localhost']);
    const server = https.createServer({ cert: certificate, key }, (_request, response) => response.end('here'));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const get = (options: https.RequestOptions): Promise<unknown> =>
      new Promise((resolve) =>
        https
          .get({ port, agent: false, ...options }, (response) => resolve(response.resume().statusCode))
          .once('error', ({ code }: NodeJS.ErrnoException) => resolve(code)),
      );
    try {
      expect(await get({ host: '127.0.0.1', ca: certificate })).to.equal(200);
      expect(await get({ host: '127.0.0.1', ca: selfSigned(['127.0.0.1']).certificate })).to.be.a('string');
      expect(await get({ host: '127.0.0.1' })).to.equal('DEPTH_ZERO_SELF_SIGNED_CERT');
      expect(await get({ host: '127.0.0.1', ca: certificate, servername: 'other.example' })).to.equal(
        'ERR_TLS_CERT_ALTNAME_INVALID',
      );
    } finally {
      server.close();
    }
  });
});
