import { execFile, spawnSync } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import tls from 'node:tls';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { createKey, formatTicket } from '../../lib/net/ticket';
import { dialSecured } from '../../lib/net/tls';
import { temporaryDirectory } from '../receive/receive-directory';
import { codeOf } from './session-port';
import { makeCertificates } from './certificates';

const root = path.join(__dirname, '../..');
const openssl = spawnSync('openssl', ['version']).status === 0;

/**
 * Dials in a process of its own, as a user would: first as any program that trusts certificates, then with a ticket.
 */
const victim = `
const tls = require('node:tls');
const { dialSecured } = require('./lib/net/tls');
const { parseTicket } = require('./lib/net/ticket');
const ticket = parseTicket(process.argv[1]);
const usual = tls.connect({ host: '127.0.0.1', port: ticket.address.port }, async () => {
  usual.end('usual');
  const came = await dialSecured(ticket).then(({ stream }) => stream.write(Buffer.from('secret')), (error) => error.code);
  process.stdout.write(JSON.stringify({ trusted: usual.authorized, came }));
  process.exit();
});
`;

describe('a machine in the middle that has no key', () => {
  const key = createKey();
  let place: string;
  let heard: string[];
  let shaken: number;
  let server: tls.Server;
  before(async function () {
    if (!openssl) return;
    this.timeout(20_000);
    place = await temporaryDirectory();
    await makeCertificates(place);
  });
  after(() => openssl && rm(place, { recursive: true }));

  async function listen(options: tls.TlsOptions): Promise<number> {
    heard = [];
    shaken = 0;
    server = tls.createServer(options, (socket) => {
      shaken++;
      socket.on('error', () => undefined).on('data', (bytes) => heard.push(String(bytes)));
    });
    server.on('tlsClientError', () => undefined);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return (server.address() as AddressInfo).port;
  }
  const ticketFor = (port: number) => ({ ...key, address: { kind: 'tcp', host: '127.0.0.1', port } }) as const;
  afterEach(() => server.close());

  const where = openssl ? '' : ' (skipped: there is no openssl command to make certificates)';
  for (const [what, environment] of [
    ['that the system trusts', {}],
    ['that nobody checks', { NODE_TLS_REJECT_UNAUTHORIZED: '0' }],
  ] as const) {
    (openssl ? it : it.skip)(`shows a certificate ${what}: it is refused before a byte is sent${where}`, async () => {
      const [certificate, secret] = await Promise.all(
        ['leaf.pem', 'leaf.key'].map((name) => readFile(path.join(place, name))),
      );
      const port = await listen({ cert: certificate, key: secret, minVersion: 'TLSv1.3' });
      const env = { ...process.env, NODE_EXTRA_CA_CERTS: path.join(place, 'ca.pem'), ...environment };
      const words = ['-r', './spec/typescript.js', '-e', victim, formatTicket(ticketFor(port))];
      const { stdout } = await promisify(execFile)(process.execPath, words, { cwd: root, env });
      expect(JSON.parse(stdout)).to.deep.equal({ trusted: true, came: 'not-authorized' });
      expect(shaken, 'the usual program was taken in').to.be.at.least(1);
      expect(heard).to.deep.equal(['usual']);
    }).timeout(20_000);
  }

  it('holds another key: it is refused', async () => {
    const port = await listen({
      minVersion: 'TLSv1.3',
      ciphers: 'TLS_AES_128_GCM_SHA256',
      pskCallback: () => createKey().key,
    });
    expect(await codeOf(dialSecured(ticketFor(port)))).to.equal('not-authorized');
    expect(shaken).to.equal(0);
  });

  it('speaks TLS 1.2 only: it is refused, whatever it holds', async () => {
    const port = await listen({
      minVersion: 'TLSv1.2',
      maxVersion: 'TLSv1.2',
      ciphers: 'PSK-AES128-GCM-SHA256',
      pskCallback: () => Buffer.from(key.key),
    });
    expect(await codeOf(dialSecured(ticketFor(port)))).to.equal('not-authorized');
    expect(shaken).to.equal(0);
  });
});
