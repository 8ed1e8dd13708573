// What only our own command line needs of the library: not exported by the package, and free to change with it.
export { BackedUp } from './access/backed-up';
export { Peers, type Peer } from './access/peers';
export { checkKeyName, readPrivateFile } from './access/private-file';
export {
  defaultPort,
  formatAddress,
  isPlainTarget,
  parseAddress,
  parseAnnounced,
  parseListenAddress,
  parseRelay,
  parseWebAddress,
} from './net/address';
export { looksLikeCode, parseCodeTarget, restOfWord } from './codes/code';
export { shortestPassword } from './net/relay-pass';
export { cannotListen } from './net/socket';
export { dialable } from './net/own-address';
export { TransferError, usualHint } from './errors';
export type { UnidentifiedConnection } from './receive/unidentified-connections';
export { printable } from './name';
export { formatSize } from './size-text';
export { nameOfBytes } from './name-bytes';
export { addressesIn, formatTicket, isTicket, parseTicket } from './net/ticket';
export { userDirectory } from './user-directory';
export { isObjectUrl, parseObjectUrl } from './object-address';
export { mostSessionConnections } from './session/connection-count';
export { shareFreeMemory } from './threads/system-calls';
export type { RelayFigures } from './net/relay-server';
export { load } from './load';
export { ignored, trace } from './trace';
export type { UploadPage } from './web/serve-uploads';
export type { ServedPage } from './web/web-server';
