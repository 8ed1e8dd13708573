import { TransferError } from '../errors';

/** What a peer is told of a failure; PROTOCOL.md 5.8. */
export interface PeerRefusal {
  readonly code: TransferError['code'];
  readonly message: string;
  readonly hint?: string;
}

/** An absolute path that is not part of a name: node:fs puts them in quotes, and our own sentences do not. */
const absolutePath = /(?<![\w.\-"/])\/[^\s'"/]+(?:\/[^\s'"]*)*/g;

/**
 * What a peer is told of a failure: its code and its sentences, without paths of this machine. The event here has all
 * of it.
 */
export function forPeer(error: TransferError): PeerRefusal {
  const { code, message, hint } =
    error.code === 'directory' ? new TransferError('disk', "The receiver's directory cannot be used.") : error;
  return { code, message: withoutPaths(message), ...(hint === undefined ? {} : { hint: withoutPaths(hint) }) };
}

/** `ENOENT: no such file or directory, open '/srv/in/x'` becomes `ENOENT: no such file or directory, open`. */
export function withoutPaths(sentence: string): string {
  return sentence.replace(/ '\/[^']*'(?: -> '\/[^']*')?/g, '').replace(absolutePath, '…');
}
