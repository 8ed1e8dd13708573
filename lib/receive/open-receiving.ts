import path from 'node:path';
import type { MetadataUse } from '../store/store';
import type { Authorization } from '../access/authorized';
import { TransferError } from '../errors';
import type { NamesTaken } from '../name';
import { type Listener, type Verified } from '../progress';
import { ofReceived } from './report';
import type { Hello } from '../wire/hello';
import type { IfExists } from '../store/store';
import { stagingName } from '../store/local/receive-directory';
import { snapshotsName, stagedName } from './backup-names';
import type { Destination } from './destinations';
import type { SnapshotStage } from './snapshot-stage';
import { type Keeper, keeperMissing } from './keeper';
import { namesOfDisk } from '../store/local/local-probe';
import type { Link } from '../session/link';
import { limitSession } from '../store/limited-session';
import { isObjectUrl } from '../object-address';
import { Session } from './session';
import type { OfferedNames } from './offered-names';
import type { AskedFor, SessionRules } from './rules';
import type { UploadPace } from './upload-pace';

/** What a receiver decides for all of its sessions. */
export interface ReceivingOptions {
  /** What entries get beside content, mode and time; absent: nothing. */
  readonly metadata?: MetadataUse | undefined;
  readonly ifExists: IfExists;
  /** Default: what the directory's disk has; see `namesOfDisk`. */
  readonly names?: NamesTaken | undefined;
  readonly on: Listener;
  /** Where the files of a key go; undefined for the ticket. Rejects with `directory`. */
  readonly destination: (authorization: Authorization | undefined) => Promise<Destination>;
  /** What keeps backups; without it a session with a backup is refused. */
  readonly keeper?: Keeper | undefined;
  /** Of uploads beside sessions. */
  readonly pace?: UploadPace | undefined;
}

/** A peer that was let in: its hello, and its key. */
export interface PeerIdentity {
  readonly hello: Hello;
  /** Undefined for the holder of the ticket. */
  readonly authorization: Authorization | undefined;
  /** The id of its key. */
  readonly peer: string;
}

/** What a session needs that depends on who dialed. */
export interface ReceivingSetup {
  /** Makes further connection `number`, and resolves when that has ended; only where we dialed. */
  readonly connect?: ((number: number) => Promise<void>) | undefined;
  /** The snapshot that it makes. */
  readonly stage?: SnapshotStage | undefined;
  /** What the peer was asked for; only where we dialed. */
  readonly asked?: AskedFor | undefined;
  /** `relay HOST:PORT` where a relay carries it; absent for none. */
  readonly route?: string | undefined;
  /** The names of its session. */
  readonly names?: OfferedNames | undefined;
}

/**
 * Opens the store for a session. Rejects with `directory`, with `interrupted` where the receiver is being stopped, and
 * like the store; then the stage is left.
 */
export async function openReceiving(
  options: ReceivingOptions,
  comer: PeerIdentity,
  link: Link,
  dealings: ReceivingSetup,
): Promise<Session> {
  try {
    return await openSession(options, comer, link, dealings);
  } catch (error) {
    await dealings.stage?.leave();
    throw error;
  }
}

async function openSession(
  options: ReceivingOptions,
  { hello, authorization, peer }: PeerIdentity,
  link: Link,
  { connect, stage, asked, route, names: offered }: ReceivingSetup,
): Promise<Session> {
  const destination = await options.destination(authorization);
  refuseUnknownLevel(hello, destination.store.verified);
  const { store, allowance, backups, directory } = stage?.destination ?? destination;
  const names = options.names ?? (isObjectUrl(directory) ? 'any' : await namesOfDisk(directory));
  const on = ofReceived(options.on, { id: hello.session, directory, from: authorization?.name, route });
  const ours = { ...rulesFor({ ...options, names, on }, authorization, peer), asked, ...(backups ? { backups } : {}) };
  const rules = stage ? stagingRules(ours) : { ...ours, check: hello.check === true };
  // The usage of staged files is counted under one path: that of the tree differs from session to session.
  const counted =
    hello.backup === undefined
      ? directory
      : path.join(destination.directory, stagingName, snapshotsName, hello.backup, stagedName);
  const { digest: algorithm = 'blake3' } = hello;
  const sessionStore = await store.session({ algorithm, peer, ifExists: rules.ifExists, metadata: rules.metadata });
  return new Session(link, hello, {
    store: limitSession(sessionStore, { allowance, directory: counted, peer, ifExists: rules.ifExists }),
    rules,
    connect,
    stage,
    pace: options.pace,
    names: offered,
  });
}

/** An older peer would take such receipts for damaged. PROTOCOL.md 17.2. */
export function refuseUnknownLevel({ levels = ['device', 'cache'] }: Hello, verified: Verified): void {
  if (levels.includes(verified)) return;
  throw new TransferError(
    'usage',
    'This receiver keeps files in an object store, and the other side knows no such receipts.',
    {
      hint: 'Install the same version on both sides.',
    },
  );
}

/**
 * The stage that takes in the snapshot of a session, or that heals existing ones. Rejects with `usage` where no backups
 * are kept, `not-authorized`, and like `OpenStage`.
 */
export async function stageFor(
  options: ReceivingOptions,
  { hello, authorization, peer }: PeerIdentity,
): Promise<SnapshotStage | undefined> {
  const {
    backup,
    repair,
    checksum = false,
    allow_shrink: allowShrink = false,
    digest: algorithm = 'blake3',
    session,
  } = hello;
  const name = repair ?? backup;
  if (name === undefined) return undefined;
  const { openStage } = keeperOf(options);
  const { mayCompare } = rulesFor(options, authorization, peer);
  if (repair !== undefined && !mayCompare)
    throw new TransferError('not-authorized', 'This key may add backups, and not replace what is in them.', {
      hint: rightsHint,
    });
  return openStage({
    name,
    repairs: repair !== undefined,
    checksum,
    allowShrink,
    algorithm,
    destination: await options.destination(authorization),
    peer,
    mayCompare,
    session,
  });
}

/** The hint where the rights of a key do not suffice. */
export const rightsHint = 'The receiver decides with sendall authorize --rights.';

/** Throws `usage` where no backups are kept. */
function keeperOf({ keeper }: Pick<ReceivingOptions, 'keeper'>): Keeper {
  if (keeper) return keeper;
  throw keeperMissing();
}

/** "A `write` key can add, never read, replace or delete." */
function rulesFor(
  { ifExists, names, metadata, on }: ReceivingOptions,
  authorization: Authorization | undefined,
  peer: string,
): SessionRules {
  const addsOnly = authorization?.rights === 'write';
  const rule = addsOnly && ifExists === 'replace' ? 'refuse' : ifExists;
  return { peer, on, names, metadata, ifExists: rule, mayCompare: !addsOnly };
}

/**
 * The rules for a staged snapshot: it is not visible yet, so everything in it may be replaced, and its files are not
 * reported one by one.
 */
function stagingRules(rules: SessionRules): SessionRules {
  const on: Listener = (event) => {
    if (event.event !== 'received') rules.on(event);
  };
  return { ...rules, ifExists: 'replace', mayCompare: true, metadata: 'recorded', on };
}
