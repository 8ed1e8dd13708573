// The public API, under semantic versioning: transfers, backups, and what programs that speak the wire themselves build
// on. What only our own command line needs is in internal.ts.
export { send, type SendResult } from './send/sender';
export { type NamedReceiver, type ReceiverResult, sendToSeveral, type SendToSeveralOptions } from './send/several';
export type { Restored } from './snapshot/restore/restore';
export { drill, type DrillOptions } from './snapshot/restore/drill';
export type { SendOptions } from './send/send-options';
export { createReceiver } from './snapshot/receiver';
export { backup, type BackupOptions, type BackupResult } from './snapshot/backup/backup';
export type { Receiver, ReceiverOptions } from './receive/receiver';
export type { IfExists } from './store/store';
export { TransferError, type ErrorCode, type TransferErrorOptions } from './errors';
export type {
  Bottleneck,
  Damage,
  DamageReason,
  Digests,
  DrillReport,
  FileDone,
  Listener,
  Phase,
  SnapshotEvent,
  Summary,
  TransferEvent,
  Verified,
} from './progress';
export { printable, type EntryName } from './name';
export { encodeFrame, HeaderDecoder, type JsonObject } from './wire/frame';
export { sendall } from './net/sendall';
export { createKey, formatTicket, parseTicket, type SessionKey, type Ticket } from './net/ticket';
export { AuthorizedKeys, type Authorization, type Rights, type WantedAuthorization } from './access/authorized';
export { dial, listen, type Dialed, type DialOptions, type Listening, type DialedPath } from './net/socket';
export { Connection, type HeaderDeadlines } from './net/connection';
export { tryDial, type Tried } from './net/try-dial';
export { Datagrams, type Datagram } from './net/datagrams';
export { Conversation, type Message } from './conversation/conversation';
export { converse, serve, type ConverseOptions, type ServeOptions, type Serving, type Talk } from './conversation/meet';
export { Outbox } from './conversation/outbox';
export type { SnapshotDamaged, SnapshotForeign, SnapshotListed } from './snapshot/manifest/snapshots';
export {
  type DiffOptions,
  diffSnapshots,
  type EntriesOptions,
  findEntries,
  type FindOptions,
  forget,
  type ForgetOptions,
  listEntries,
  type ListOptions,
  listSnapshots,
  prune,
  type PruneOptions,
  restore,
  type RestoreOptions,
  verify,
  type VerifyOptions,
} from './snapshot/remote/anywhere';
export { repair, type Repaired, type RepairOptions } from './snapshot/repair/repair';
export type { FoundEvent, FoundInSnapshot } from './snapshot/manifest/find';
export type { ChangedEntry, Difference, OneSided } from './snapshot/manifest/difference';
export { adopt, type AdoptEvent, type AdoptOptions } from './snapshot/adopt/adopt';
export type { ForgetEvent, TakenOut } from './snapshot/forget/forget';
export type { GarbageCollected, Pruned, PruneEvent } from './snapshot/prune/prune';
export type { KeepReason, KeepRules } from './snapshot/prune/retention';
export type { VerifyResult } from './snapshot/verify/verify-run';
export type { Address } from './net/address';
export type { ByteStream } from './net/byte-stream';
export type { PeerUser } from './net/peer-user';
