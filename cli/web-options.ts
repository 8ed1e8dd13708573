// The options of a page, which two commands have.
import { type Command, Option } from 'commander';
import type { TransferEvent } from '../lib/index';
import type { ServedPage } from '../lib/internal';
import { wrongUsage } from './usage';

/** What both commands take. */
export interface WebFlags {
  /** True where the usual address is meant. */
  readonly web?: string | true;
  readonly webUrl?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tlsSelfSigned?: boolean;
  readonly insecurePlain?: boolean;
  readonly qr?: boolean;
}

export interface WebReceiveFlags extends WebFlags {
  readonly webRead?: boolean;
}

/** Adds the options of a page. */
export function addWebOptions(command: Command, role: 'receive' | 'send'): Command {
  command.option(
    '--web [ADDRESS]',
    role === 'receive'
      ? 'serve a page for uploads from a browser, too: HOST:PORT, or a port of 127.0.0.1; default 127.0.0.1:8899'
      : 'serve a page to download from in a browser: HOST:PORT, or a port of 127.0.0.1; default 127.0.0.1:8899',
  );
  if (role === 'send') command.option('--qr', 'with --web: draw the address of the page as a QR code, too');
  else command.option('--web-read', 'with --web: whoever may upload may list and download, too');
  return command
    .option('--web-url <URL>', 'with --web behind another web server: the address that browsers have')
    .addOption(new Option('--tls-cert <FILE>', 'with --web: serve it by HTTPS with this certificate, PEM'))
    .addOption(new Option('--tls-key <FILE>', 'the private key of --tls-cert, PEM'))
    .option(
      '--tls-self-signed',
      'with --web: serve it by HTTPS with a certificate made now, to compare by its fingerprint',
    );
}

/** `against`: what of the command line a page does not go with. Throws `usage`. */
export function checkWebFlags(flags: WebReceiveFlags, against: string | undefined): void {
  if (flags.web === undefined) {
    const alone = (['webRead', 'webUrl', 'tlsCert', 'tlsKey', 'tlsSelfSigned'] as const).find(
      (name) => flags[name] !== undefined,
    );
    if (alone !== undefined)
      throw wrongUsage('--web-read, --web-url, --tls-cert, --tls-key and --tls-self-signed go with --web.');
    return;
  }
  if (against !== undefined) throw wrongUsage(`--web serves whoever comes, and does not go with ${against}.`);
  if ((flags.tlsCert === undefined) !== (flags.tlsKey === undefined))
    throw wrongUsage('--tls-cert and --tls-key go together.');
  if (flags.tlsSelfSigned && flags.tlsCert !== undefined)
    throw wrongUsage('--tls-self-signed makes a certificate, and does not go with --tls-cert.');
}

/** What is told of a page that is served. */
export function webEvent({ url, certificateSha256 }: ServedPage): TransferEvent {
  return {
    event: 'web',
    url,
    ...(certificateSha256 === undefined ? {} : { certificate_sha256: certificateSha256 }),
  };
}

/** What the flags ask the library for. SENDALL_WEB_TOKEN lets the address of a page stay the same. */
export function webOptions(flags: WebFlags): {
  readonly address: string | undefined;
  readonly insecurePlain: boolean;
  readonly certificate: string | undefined;
  readonly key: string | undefined;
  readonly selfSigned: boolean;
  readonly publicUrl: string | undefined;
  readonly token: string | undefined;
} {
  return {
    address: typeof flags.web === 'string' ? flags.web : undefined,
    insecurePlain: flags.insecurePlain ?? false,
    certificate: flags.tlsCert,
    key: flags.tlsKey,
    selfSigned: flags.tlsSelfSigned ?? false,
    publicUrl: flags.webUrl,
    token: process.env['SENDALL_WEB_TOKEN'],
  };
}
