// A certificate that nobody vouches for: what goes over the network is encrypted, and whether it is ours a person sees
// by its fingerprint. Written as X.509 v3 (RFC 5280) in DER (X.690), which is all that is needed of either.
import { generateKeyPairSync, randomBytes, sign, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';

/** A certificate with its key, in PEM. */
export interface OwnCertificate {
  readonly certificate: string;
  readonly key: string;
  /** SHA-256 of the certificate, lower-case hex: what browsers show as its fingerprint. */
  readonly sha256: string;
}

const day = 86_400_000;
/** Clocks differ. Some browsers take none that is good for more than 398 days. */
const validBefore = day;
const validFor = 365 * day;

const tag = {
  integer: 0x02,
  bits: 0x03,
  bytes: 0x04,
  oid: 0x06,
  utf8: 0x0c,
  utcTime: 0x17,
  time: 0x18,
  sequence: 0x30,
  set: 0x31,
  /** Of the SAN extension: a name, and an address. */
  dnsName: 0x82,
  address: 0x87,
  version: 0xa0,
  extensions: 0xa3,
} as const;

function der(kind: number, ...content: readonly Uint8Array[]): Buffer {
  const bytes = Buffer.concat(content);
  if (bytes.length < 0x80) return Buffer.concat([Buffer.of(kind, bytes.length), bytes]);
  const length = Buffer.from(bytes.length.toString(16).padStart(4, '0'), 'hex');
  return Buffer.concat([Buffer.of(kind, 0x80 | length.length), length, bytes]);
}

const sequence = (...content: readonly Uint8Array[]): Buffer => der(tag.sequence, ...content);
const oid = (hex: string): Buffer => der(tag.oid, Buffer.from(hex, 'hex'));

const ecdsaWithSha256 = sequence(oid('2a8648ce3d040302'));
const commonName = oid('550403');
const subjectAltName = oid('551d11');
const extendedKeyUsage = oid('551d25');
const serverAuthentication = oid('2b06010505070301');

/** UTCTime up to 2049, and GeneralizedTime from then on. */
function timeOf(at: number): Buffer {
  const text = `${new Date(at).toISOString().replace(/\.\d+|[-:T]/g, '')}`;
  return text >= '2050' ? der(tag.time, Buffer.from(text)) : der(tag.utcTime, Buffer.from(text.slice(2)));
}

/** The bytes of an address of IPv4 or IPv6 without a zone. */
function addressBytes(host: string): Buffer {
  if (isIP(host) === 4) return Buffer.from(host.split('.').map(Number));
  // The URL parser writes all forms of one address in one way: hexadecimal groups, the longest run of zeros left out.
  const [head = '', tail] = new URL(`http://[${host}]`).hostname.slice(1, -1).split('::');
  const groups = (text: string | undefined): string[] => (text ? text.split(':') : []);
  const zeros = Array<string>(8 - groups(head).length - groups(tail).length).fill('0');
  const all = tail === undefined ? groups(head) : [...groups(head), ...zeros, ...groups(tail)];
  return Buffer.from(all.map((group) => group.padStart(4, '0')).join(''), 'hex');
}

/** A new key, and a certificate for a page that is reached by these hosts, good for a year. */
export function selfSigned(hosts: readonly string[], now = Date.now()): OwnCertificate {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const serial = randomBytes(16);
  // Neither negative nor with a zero in front.
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40;
  const name = sequence(der(tag.set, sequence(commonName, der(tag.utf8, Buffer.from('sendall')))));
  const names = [...new Set(hosts)].map((host) =>
    isIP(host) ? der(tag.address, addressBytes(host)) : der(tag.dnsName, Buffer.from(host, 'latin1')),
  );
  const extensions = sequence(
    sequence(subjectAltName, der(tag.bytes, sequence(...names))),
    sequence(extendedKeyUsage, der(tag.bytes, sequence(serverAuthentication))),
  );
  const toSign = sequence(
    der(tag.version, der(tag.integer, Buffer.of(2))),
    der(tag.integer, serial),
    ecdsaWithSha256,
    name,
    sequence(timeOf(now - validBefore), timeOf(now + validFor)),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
    der(tag.extensions, extensions),
  );
  const signature = sign('sha256', toSign, privateKey);
  const certificate = new X509Certificate(sequence(toSign, ecdsaWithSha256, der(tag.bits, Buffer.of(0), signature)));
  return {
    certificate: certificate.toString(),
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    sha256: certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
  };
}
