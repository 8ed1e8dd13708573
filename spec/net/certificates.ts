// An authority that somebody trusts, and a certificate of it for this machine, as `ca.pem`, `leaf.pem` and `leaf.key`.
import { execFileSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Makes them in `place`, which is made where it is missing. Needs openssl(1). */
export async function makeCertificates(place: string): Promise<void> {
  await mkdir(place, { recursive: true });
  await writeFile(join(place, 'names'), 'subjectAltName=DNS:localhost,IP:127.0.0.1\n');
  const openssl = (...words: readonly string[]): unknown =>
    execFileSync('openssl', words, { cwd: place, stdio: 'pipe' });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl('req', '-x509', ...newKey, '-keyout', 'ca.key', '-out', 'ca.pem', '-days', '2', '-subj', '/CN=Trusted');
  openssl('req', ...newKey, '-keyout', 'leaf.key', '-out', 'leaf.csr', '-subj', '/CN=localhost');
  openssl(
    'x509',
    '-req',
    '-in',
    'leaf.csr',
    '-CA',
    'ca.pem',
    '-CAkey',
    'ca.key',
    '-CAcreateserial',
    '-out',
    'leaf.pem',
    '-days',
    '2',
    '-extfile',
    'names',
  );
}
