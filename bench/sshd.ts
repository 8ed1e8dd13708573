import { mkdir, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { find, freePort, here, run, serve, type Place, type Server } from './command';

/** An sshd of our own on a free port, of the loopback unless it is elsewhere, which lets in one throw-away key. */
export interface Sshd extends Server {
  /** What ssh and scp need in front of their own arguments, the port excepted, which they spell differently. */
  readonly options: readonly string[];
  readonly port: number;
  /** `user@host` */
  readonly peer: string;
}

/**
 * Starts it, keys and configuration in `directory`. @returns undefined if a program is missing or it does not start;
 * `say` tells why.
 */
export async function startSshd(
  directory: string,
  say: (text: string) => void,
  at: Place = here,
): Promise<Sshd | undefined> {
  const sshd = find('sshd');
  const missing = ['sshd', 'scp', 'ssh-keygen'].filter((program) => find(program) === undefined);
  if (sshd === undefined || missing.length > 0) {
    say(`scp is left out: ${missing.join(', ')} not installed`);
    return undefined;
  }
  const home = join(directory, 'ssh');
  const [hostKey, userKey] = [join(home, 'host'), join(home, 'user')];
  const port = await freePort();
  try {
    await mkdir(home, { mode: 0o700 });
    if (process.getuid?.() === 0) await mkdir('/run/sshd', { recursive: true, mode: 0o755 }); // sshd's own jail, which its package makes at boot
    for (const key of [hostKey, userKey]) await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key]);
    const config = [
      `ListenAddress ${at.host}`,
      `Port ${port}`,
      `HostKey ${hostKey}`,
      `AuthorizedKeysFile ${userKey}.pub`,
      'AuthenticationMethods publickey',
      'PermitRootLogin prohibit-password',
      'StrictModes no',
      'UsePAM no',
      'UseDNS no',
      'PidFile none',
      'Subsystem sftp internal-sftp',
    ];
    await writeFile(join(home, 'sshd_config'), `${config.join('\n')}\n`);
    const server = await serve(sshd, ['-D', '-e', '-f', join(home, 'sshd_config')], port, at);
    const answers = [
      'StrictHostKeyChecking=no',
      'UserKnownHostsFile=/dev/null',
      'IdentitiesOnly=yes',
      'BatchMode=yes',
      'LogLevel=ERROR',
    ];
    const options = ['-F', 'none', '-i', userKey, ...answers.flatMap((answer) => ['-o', answer])];
    return { ...server, options, port, peer: `${userInfo().username}@${at.host}` };
  } catch (error) {
    say(`scp is left out: ${String(error)}`);
    return undefined;
  }
}
