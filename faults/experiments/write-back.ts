import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { isBackup, type Wire } from '../commands';
import { DiskTrials } from '../disk-trials';
import type { Experiment, Outcome, Surroundings } from '../experiment';
import { withLoans } from '../loans';
import { brokenFiles, brokenSnapshots, Promised } from '../promised';
import { makeTree } from '../trees';
import {
  copyImage,
  type FileSystem,
  fileSystems,
  makeVolume,
  missingForVolumes,
  mountMemory,
  mountVolume,
  narrow,
  smallestXfs,
  syncVolume,
} from '../volume';

interface Case {
  readonly wire: Wire;
  readonly shape: 'small files' | 'all sizes';
}

const small = {
  session: { wire: 'session', shape: 'small files' },
  plain: { wire: 'plain', shape: 'small files' },
} as const;
/**
 * Once in a while it is the log of the file system that the device does not take first, and then nothing is believed
 * any more.
 */
const casesInProof: readonly Case[] = [small.session, small.plain, small.plain];
const cases: readonly Case[] = [
  small.session,
  small.plain,
  { wire: 'local backup', shape: 'all sizes' },
  { wire: 'session', shape: 'all sizes' },
  { wire: 'plain', shape: 'all sizes' },
  { wire: 'backup', shape: 'all sizes' },
];
const casesInShortDose = 2;
const roundsInLongDose = 10;
/** What the device takes before it fails, and what is sent, in MiB. */
const leastRoom = 2;
const mostRoom = 6;
const sent = 10;
const mib = 2 ** 20;

class WriteBack extends DiskTrials {
  receipts = 0;
  failures = 0;

  /**
   * Sends more than the device can take, although the file system on it has room. What the device has of it is looked
   * at on another one.
   */
  async attempt({ wire, shape }: Case, kind: FileSystem): Promise<void> {
    const { directory, random } = this.surroundings;
    const at = (name: string): string => join(directory, `try-${this.tries}`, name);
    this.tries++;
    const unmountMemory = mountMemory(at('memory'), this.loans);
    const image = at('memory/image');
    makeVolume(image, kind, smallestXfs);
    const unmount = mountVolume(image, at('disk'), kind, this.loans);
    const promised = new Promised();
    let code: number | null;
    try {
      mkdirSync(at('disk/in'));
      syncVolume(at('disk'));
      const room = random.between(leastRoom, mostRoom);
      narrow(at('memory'), room);
      promised.offer(makeTree(at('source'), this.sizesOf(shape), random));
      code = await this.sending(wire, at('source/tree'), at('disk'), promised);
      copyImage(image, at('copy'));
    } finally {
      unmount();
      unmountMemory();
    }
    const unmountCopy = mountVolume(at('copy'), at('disk'), kind, this.loans);
    try {
      const expected = promised.now();
      const broken = isBackup(wire)
        ? await brokenSnapshots(expected, at('disk/in'), this.surroundings.build)
        : brokenFiles(expected, at('disk/in'));
      if (code === null) broken.push('The sender did not come to an end.');
      if (code === 0) broken.push('The sender ended with 0, although the device could not take what it sent.');
      this.receipts += expected.receipts.size;
      this.broken.push(
        ...broken
          .slice(0, 3)
          .map(
            (sentence) =>
              `${sentence} (seed ${random.seed}, try ${this.tries}, ${kind}, ${wire}, ${shape}, ${broken.length} in all)`,
          ),
      );
    } finally {
      unmountCopy();
      rmSync(at(''), { recursive: true });
    }
  }

  private async sending(wire: Wire, source: string, cwd: string, promised: Promised): Promise<number | null> {
    const receiver = wire === 'local backup' ? undefined : await this.commands.receive({ cwd, heard: promised.heard });
    const { sender, receipts } = this.commands.send(wire, source, receiver, { cwd, heard: promised.heard });
    const { code } = await sender.ended;
    await receiver?.end();
    this.failures += receipts.failures.length;
    return code;
  }

  private sizesOf(shape: Case['shape']): Record<string, number> {
    const { random } = this.surroundings;
    const sizes: Record<string, number> = {};
    let left = sent * mib;
    for (let at = 0; left > 0; at++) {
      const size =
        shape === 'all sizes' && at % 20 === 0 ? random.between(65_537, 2 * mib) : random.between(20_000, 65_536);
      sizes[`tree/${at % 7}/f${at}`] = size;
      left -= size;
    }
    return sizes;
  }
}

async function run(surroundings: Surroundings): Promise<Outcome> {
  const { dose, random, say } = surroundings;
  return withLoans(async (loans) => {
    const experiment = new WriteBack(surroundings, loans);
    if (dose === 'proof') {
      for (const chosen of casesInProof) if (experiment.broken.length === 0) await experiment.attempt(chosen, 'xfs');
    } else if (dose === 'short') {
      for (let at = 0; at < casesInShortDose; at++)
        await experiment.attempt(random.oneOf(cases), random.oneOf(fileSystems));
    } else {
      for (let round = 0; round < roundsInLongDose; round++) {
        for (const kind of fileSystems) for (const chosen of cases) await experiment.attempt(chosen, kind);
        say(`${experiment.tries} devices filled`);
      }
    }
    const { tries, broken, receipts, failures } = experiment;
    return { tries, broken, figures: { receipts, failures } };
  });
}

/** Files are read back as they are in the page cache, in whichever way. */
const throughCache = {
  file: 'lib/store/local/staged-batch.js',
  from: 'if (fd >= 0 && (!reader.direct || calls.readPastCache(fd)))',
  to: 'if (fd >= 0)',
};
const throughCacheDropped = {
  file: 'lib/store/local/many-reader.js',
  from: 'linux.dropFromCache(fd);',
  to: 'dropped[at] = 1; continue;',
};
const failedSyncBelieved = 'try { system?.syncFileSystem(order.disk); } catch {}';

export const writeBack: Experiment = {
  name: 'write-back',
  promise:
    'What a device did not take gets no receipt, although the file system had room for it and nobody was told at the time of writing.',
  missing: missingForVolumes,
  run,
  sabotages: [
    {
      name: 'a failed sync of a group is believed, and what is read back comes from the page cache',
      edits: [
        {
          file: 'lib/store/local/batch.worker.js',
          from: 'system?.syncFileSystem(order.disk);',
          to: failedSyncBelieved,
        },
        throughCache,
        throughCacheDropped,
      ],
    },
  ],
};
