import { TransferError, whyOf } from '../../errors';
import { printable } from '../../name';
import type { DamageReason, Listener, Summary, Verified } from '../../progress';
import { asRegistered, type Catalog, type Snapshot } from '../manifest/catalog';
import type { DeviceReader } from './device-reader';
import { decodeManifest, inPieces, type Manifest, manifestName } from '../manifest/manifest';
import { sharedDamage } from '../backup/sharing';
import { VerifyCount } from './verify-count';
import { KeptState, kindOf } from './verify-kept';
import { choosePass, type Pass } from './verify-pass';
import {
  checkCurrent,
  type VerifiedContent,
  reasonOf,
  type SharedFile,
  SnapshotCheck,
  SnapshotGone,
  SnapshotRenewed,
} from './verify-snapshot';
import { type VerifyState, VerifyStates } from './verify-state';
import { ignored } from '../../trace';

/** A verification that found no damage. */
export interface VerifyResult extends Summary {
  readonly snapshots: number;
  /** How far the reading back went. */
  readonly verified: Verified;
  /** When the interrupted verification began that this one went on with, ISO 8601. */
  readonly continued?: string;
}

export interface VerifyWork {
  readonly catalog: Catalog;
  readonly chosen: readonly Snapshot[];
  /** What the events call all of it. */
  readonly called: string;
  readonly reader: DeviceReader;
  /** Of the files, to be read. */
  readonly share: number;
  readonly signal: AbortSignal;
  readonly on: Listener;
}

/** One run of a verification, over one snapshot after the other, the oldest of each backup first. */
export class VerifyRun {
  private readonly states: VerifyStates;
  private readonly kept: KeptState[] = [];
  private damages = 0;
  /** Of those, what is not given out. */
  private unreadable = 0;
  /** And the manifests: nothing vouches for a snapshot without one. */
  private manifests = 0;
  /** Those that are there, and were not backed up. */
  private foreign = 0;
  private readonly damaged = new Set<string>();
  private withoutModes = false;
  /** Damaged files with several names, by inode, by backup. */
  private readonly shared = new Map<string, Map<bigint, SharedFile>>();
  /** What files with several names read as, by inode, by backup and digest. */
  private readonly known = new Map<string, Map<bigint, VerifiedContent>>();

  constructor(private readonly work: VerifyWork) {
    this.states = new VerifyStates(work.catalog.directory);
  }

  /** See `verify`. */
  async run(): Promise<VerifyResult> {
    const { chosen, share, called, on, reader } = this.work;
    const saved = new Map(
      await Promise.all(chosen.map(async (snapshot) => [snapshot, await this.states.read(snapshot)] as const)),
    );
    const { pass, continues } = choosePass(
      [...saved.values()].flatMap((state) => state?.[kindOf({ share })] ?? []),
      share,
    );
    const count = new VerifyCount(called, on);
    let snapshots = 0;
    try {
      const ahead = await this.guess();
      for (const snapshot of chosen) {
        ahead.delete(snapshot);
        const later = [...ahead.values()].reduce((sum, bytes) => sum + bytes, 0);
        if (await this.one(snapshot, pass, saved.get(snapshot), count, later)) snapshots++;
      }
      await this.nameOthers();
      for (const kept of this.kept) await kept.complete();
    } finally {
      count.stop();
      if (this.states.failure !== undefined)
        on({ event: 'skipped', file_name: '.sendall/snapshots', reason: unkept(this.states.failure) });
      if (this.withoutModes)
        on({ event: 'skipped', file_name: called, reason: 'Its disk has no modes, so that they are not compared.' });
      on({ event: 'summary', ...count.summary, verified: reader.verified });
    }
    if (this.damages + this.foreign > 0) throw this.failure();
    return { ...count.summary, snapshots, verified: reader.verified, ...(continues ? { continued: pass.began } : {}) };
  }

  /**
   * About as many bytes are to be read of each snapshot: all of the first of a backup, and what is new in those after
   * it.
   */
  private async guess(): Promise<Map<Snapshot, number>> {
    const { chosen, catalog, share } = this.work;
    const bytes = new Map<Snapshot, number>();
    for (const [at, snapshot] of chosen.entries()) {
      const outline = await catalog.outline(snapshot).catch(ignored('told of when its turn comes'));
      const isFirst = chosen[at - 1]?.name !== snapshot.name;
      if (outline) bytes.set(snapshot, (isFirst ? outline.totals.bytes : outline.totals.newBytes) * share);
    }
    return bytes;
  }

  /** Whether the snapshot is still there. `later` are the bytes that those after it may have. */
  private async one(
    snapshot: Snapshot,
    pass: Pass,
    saved: VerifyState | undefined,
    count: VerifyCount,
    later: number,
  ): Promise<boolean> {
    this.work.signal.throwIfAborted();
    try {
      if (snapshot.lost) {
        this.damage(snapshot, manifestName, 'missing');
        return true;
      }
      const read = await this.manifest(snapshot);
      if (!read) await this.forget(snapshot);
      else
        await this.check(
          snapshot,
          read.manifest,
          new KeptState({ states: this.states, snapshot, manifest: read.digest, saved, pass }),
          { pass, count, later },
        );
      return true;
    } catch (error) {
      if (!(error instanceof SnapshotGone)) throw error;
      const renewed = error instanceof SnapshotRenewed && (await this.renewed(snapshot));
      if (renewed) return this.one(renewed, pass, undefined, count, later);
      this.work.on({
        event: 'skipped',
        file_name: shownAs(snapshot),
        reason: 'It was removed while it was being verified.',
      });
      return false;
    }
  }

  /** The same snapshot as it is registered by now, without what was taken out of it. */
  private async renewed({ name, entry }: Snapshot): Promise<Snapshot | undefined> {
    const now = await this.work.catalog.snapshots(name);
    return now.find((each) => each.entry.number === entry.number && each.entry.manifest !== entry.manifest);
  }

  private async check(
    snapshot: Snapshot,
    manifest: Manifest,
    kept: KeptState,
    run: { readonly pass: Pass; readonly count: VerifyCount; readonly later: number },
  ): Promise<void> {
    const { pass, count, later } = run;
    const { reader, signal } = this.work;
    const check: SnapshotCheck = new SnapshotCheck(snapshot, manifest, kept.resumed, {
      reader,
      pass,
      signal,
      known: below(this.known, `${manifest.head.digest} ${snapshot.name}`),
      onDamage: (path, reason, shared) => {
        this.damage(snapshot, path, reason);
        if (shared) below(this.shared, snapshot.name).set(shared.inode, shared);
        kept.damaged();
      },
      onWithoutModes: () => {
        this.withoutModes = true;
      },
      onProgress: (name, done, ended) => {
        count.read(name, done, ended);
        if (ended) kept.note(check.done);
      },
    });
    try {
      count.expect((await check.survey()) + later);
      await check.read().catch(async (error: unknown) => {
        if (!(error instanceof SnapshotGone)) await kept.stop(check.done);
        throw error;
      });
    } finally {
      await check.close();
    }
    await kept.end(check.done, !this.damaged.has(shownAs(snapshot)));
    this.kept.push(kept);
  }

  /** Undefined for one that cannot be believed. */
  private async manifest(
    snapshot: Snapshot,
  ): Promise<{ readonly manifest: Manifest; readonly digest: string } | undefined> {
    try {
      const bytes = await this.work.reader.bytes(`${shownAs(snapshot)}/${manifestName}`, snapshot.entry.size);
      const manifest = asRegistered(snapshot, await decodeManifest(inPieces(bytes)));
      return { manifest, digest: manifest.digest };
    } catch (error) {
      if (!(error instanceof TransferError)) reasonOf(error);
      await checkCurrent(snapshot);
    }
    this.damage(snapshot, manifestName, 'manifest');
    return undefined;
  }

  /** What is damaged in the snapshots chosen is so in others as well. */
  private async nameOthers(): Promise<void> {
    const { catalog, chosen } = this.work;
    const looked = new Set(chosen.map(shownAs));
    for (const name of new Set(chosen.map((snapshot) => snapshot.name))) {
      const files = this.shared.get(name);
      if (!files) continue;
      for (const other of await catalog.snapshots(name)) {
        if (looked.has(shownAs(other))) continue;
        const damages = await sharedDamage(catalog, other, files);
        for (const { path, reason } of damages) this.damage(other, path, reason);
        if (damages.length > 0) await this.forget(other);
      }
    }
  }

  /** A damaged snapshot is not a verified one, whenever it was. */
  private async forget(snapshot: Snapshot): Promise<void> {
    const saved = await this.states.read(snapshot);
    if (saved?.verified_at === undefined) return;
    const { verified_at: _, ...others } = saved;
    await this.states.write(snapshot, others);
  }

  private damage(snapshot: Snapshot, path: string, reason: DamageReason): void {
    if (reason === 'foreign') this.foreign++;
    else this.damages++;
    if (reason === 'unreadable') this.unreadable++;
    if (path === manifestName) this.manifests++;
    this.damaged.add(shownAs(snapshot));
    this.work.on({ event: 'damaged', snapshot: shownAs(snapshot), path, reason });
  }

  /** What can be done about what is damaged. */
  private remedy(): string {
    const mayBeOfModes = this.unreadable > 0 && (process.geteuid?.() ?? 0) !== 0;
    const others = this.damages - this.manifests - (mayBeOfModes ? this.unreadable : 0);
    return [
      mayBeOfModes
        ? 'What is unreadable may be so by its mode alone: run as root, by sudo, sendall verify and restore read it.'
        : '',
      others > 0 ? 'sendall verify --repair, run where the content still is, brings it again.' : '',
      this.manifests > 0
        ? 'A manifest is not repaired: SHA256SUMS may still check the files; use another snapshot.'
        : '',
    ]
      .filter((each) => each !== '')
      .join(' ');
  }

  private failure(): TransferError {
    const { damages, foreign } = this;
    const where = this.damaged.size === 1 ? '1 snapshot' : `${String(this.damaged.size)} snapshots`;
    const things = (count: number): string => (count === 1 ? '1 thing' : `${String(count)} things`);
    if (damages === 0)
      return new TransferError(
        'mismatch',
        `Nothing is damaged; ${things(foreign)} in ${where} ${foreign === 1 ? 'was' : 'were'} not backed up.`,
        {
          hint: 'Move it away: nothing of a snapshot is lost by that. Then sendall verify --repair gives directories their times again.',
        },
      );
    const besides = foreign === 0 ? '' : `, and ${things(foreign)} ${foreign === 1 ? 'was' : 'were'} not backed up`;
    return new TransferError(
      'mismatch',
      `${things(damages)} ${damages === 1 ? 'is' : 'are'} damaged in ${where}${besides}.`,
      {
        hint: `Check the disk and its system log. What is not named here is whole. ${this.remedy()}`,
      },
    );
  }
}

function shownAs({ name, id }: Snapshot): string {
  return `${name}/${id}`;
}

function below<Key, Value>(maps: Map<string, Map<Key, Value>>, key: string): Map<Key, Value> {
  const known = maps.get(key) ?? new Map<Key, Value>();
  maps.set(key, known);
  return known;
}

function unkept(failure: unknown): string {
  return printable(`What is verified cannot be kept: ${whyOf(failure)}.`);
}
