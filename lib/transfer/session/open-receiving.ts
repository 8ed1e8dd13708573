import type { Authorization } from '../../access/authorized';
import { TransferError } from '../../errors';
import type { Listener } from '../../progress';
import type { Hello } from '../../protocol/hello';
import type { IfExists } from '../../store/store';
import type { Home } from '../homes';
import type { Intake, OpenIntake } from './intake';
import type { Link } from './link';
import { SessionReceiving } from './receive';
import type { SessionRules } from './rules';

/** What a receiver decides for all of its sessions. */
export interface ReceivingOptions {
  readonly ifExists: IfExists;
  readonly on: Listener;
  /** Where the files of a key go; undefined for the ticket. Rejects with `directory`. */
  readonly home: (authorization: Authorization | undefined) => Promise<Home>;
  /** Where backups are kept; without it they are refused. */
  readonly openIntake?: OpenIntake | undefined;
}

/** Who came, and with what. */
export interface Comer {
  readonly hello: Hello;
  /** Undefined for the holder of the ticket. */
  readonly authorization: Authorization | undefined;
  /** The id of its key. */
  readonly peer: string;
}

/** Opens the store for a session. `connect` makes further connections where we dialed, `intake` is the snapshot that it makes. */
export async function openReceiving(options: ReceivingOptions, { hello, authorization, peer }: Comer, link: Link, connect?: (number: number) => Promise<void>, intake?: Intake): Promise<SessionReceiving> {
  const { store, allowance } = intake?.home ?? (await options.home(authorization));
  const sessionStore = await store.session(hello.digest ?? 'blake3', allowance).catch(async (error: unknown) => {
    await intake?.leave();
    throw error;
  });
  const rules = rulesFor(options, authorization, peer);
  return new SessionReceiving(link, hello, sessionStore, intake ? stagingRules(rules) : rules, connect, intake);
}

/** The snapshot that a session makes, where it asks for one. Rejects with `usage` where no backups are kept, and like `OpenIntake`. */
export async function intakeFor(options: ReceivingOptions, { hello, authorization, peer }: Comer): Promise<Intake | undefined> {
  const { backup, checksum = false, digest: algorithm = 'blake3', session } = hello;
  if (backup === undefined) return undefined;
  const { home, openIntake } = options;
  if (!openIntake) throw new TransferError('usage', 'This receiver keeps no backups.');
  const { mayCompare } = rulesFor(options, authorization, peer);
  return openIntake({ name: backup, checksum, algorithm, home: await home(authorization), peer, mayCompare, session });
}

/** "A `write` key can add, never read, replace or delete." */
function rulesFor({ ifExists, on }: ReceivingOptions, authorization: Authorization | undefined, peer: string): SessionRules {
  const addsOnly = authorization?.rights === 'write';
  return { peer, on, ifExists: addsOnly && ifExists === 'replace' ? 'refuse' : ifExists, mayCompare: !addsOnly };
}

/** What a snapshot is staged in is nobody's yet: everything may stand in it and be replaced, and its files are not received one by one. */
function stagingRules(rules: SessionRules): SessionRules {
  const on: Listener = (event) => {
    if (event.event !== 'received') rules.on(event);
  };
  return { ...rules, ifExists: 'replace', mayCompare: true, on };
}
