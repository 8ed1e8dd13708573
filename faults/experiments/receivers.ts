// Several receivers without state before one object store: senders that want the same names, or bring the same
// contents, or have much of their own, while one receiver after the other is killed, or stopped and goes on.
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { type ObjectServer, radosgw, startTiny } from '../../spec/store/object/servers';
import { Crew } from '../crew';
import type { Dose, Experiment, Outcome, Surroundings } from '../experiment';
import type { Random } from '../random';
import { Receipts } from '../receipts';
import { endedWithin } from '../served';

const mebi = 1024 * 1024;
const receivers = 4;
/** Each of them with a key of its own. */
const senders = 4;

interface Amounts {
  /** Files that every sender has for itself. */
  readonly small: number;
  readonly large: number;
  /** The most that one of them has, in MiB. */
  readonly largest: number;
  /** Names for which every sender has another content. */
  readonly contested: number;
  /** Files that every sender has. */
  readonly shared: number;
  /** One receiver is killed or stopped so often, in ms. */
  readonly every: number;
  /** How long one run of a sender may take, in ms. */
  readonly patience: number;
}

/** The long one has 4 GiB. */
const amounts: Readonly<Record<Dose, Amounts>> = {
  proof: { small: 60, large: 0, largest: 0, contested: 300, shared: 4, every: 2_000, patience: 60_000 },
  short: { small: 60, large: 1, largest: 20, contested: 60, shared: 4, every: 2_000, patience: 60_000 },
  long: { small: 1500, large: 21, largest: 80, contested: 200, shared: 50, every: 5_000, patience: 900_000 },
};
/** How often a sender is started again before it counts as one that never ends. */
const mostRuns = 200;

/** The SHA-256 of files by their names. */
type Contents = Map<string, string>;

interface Made {
  readonly contents: Contents;
  readonly bytes: number;
}

interface Sender extends Made {
  readonly name: string;
  /** Where its files are. */
  readonly cwd: string;
  readonly tickets: readonly string[];
}

/** What was promised and what was found, of all senders. */
class Findings {
  readonly broken: string[] = [];
  runs = 0;
  /** For each name, the contents that receipts were given for, each with who has it. */
  readonly receipts = new Map<string, Map<string, string>>();

  /** Notes the receipts of one run. */
  take({ name, contents }: Sender, { files }: Receipts): void {
    const seen = new Set<string>();
    for (const { path = '', file_name: file, digests, verified } of files) {
      const named = file ?? path;
      const { sha256 = '' } = digests;
      if (seen.has(named)) this.broken.push(`${name} has two receipts for ${named} from one run`);
      seen.add(named);
      if (sha256 !== contents.get(named)) this.broken.push(`${name} has a receipt for another content of ${named}`);
      if (verified !== 'store') this.broken.push(`${name} has a receipt ${String(verified)} for ${named}`);
      const before = this.receipts.get(named) ?? new Map<string, string>();
      before.set(sha256, name);
      this.receipts.set(named, before);
    }
  }

  /** Compares what is there in the end with what was promised. */
  compare(there: Contents, expected: ReadonlySet<string>): void {
    for (const [name, contents] of this.receipts) {
      const [[digest, sender] = []] = contents;
      if (contents.size > 1)
        this.broken.push(`${[...contents.values()].join(' and ')} have receipts for different contents of ${name}`);
      else if (!there.has(name)) this.broken.push(`${String(sender)} has a receipt for ${name}, which is not there`);
      else if (there.get(name) !== digest) this.broken.push(`${name} is another one than ${String(sender)} was told`);
    }
    for (const name of expected) if (!this.receipts.has(name)) this.broken.push(`nobody has a receipt for ${name}`);
    for (const name of there.keys()) if (!expected.has(name)) this.broken.push(`${name} was sent by nobody`);
  }
}

function makeFiles(directory: string, random: Random, shared: ReadonlyMap<string, Buffer>, dose: Dose): Made {
  const { small, large, largest, contested } = amounts[dose];
  const contents: Contents = new Map();
  let sum = 0;
  const make = (name: string, bytes: Buffer): void => {
    mkdirSync(join(directory, name, '..'), { recursive: true });
    writeFileSync(join(directory, name), bytes);
    contents.set(name, createHash('sha256').update(bytes).digest('hex'));
    sum += bytes.length;
  };
  const own = `of ${relative(join(directory, '..'), directory)}`;
  for (let file = 0; file < small; file++)
    make(`${own}/${String(file % 20)}/${String(file)}`, randomBytes(random.between(0, 60_000)));
  for (let file = 0; file < large; file++)
    make(`${own}/large${String(file)}`, randomBytes(random.between(((largest * mebi) / 4) | 0, largest * mebi)));
  for (let file = 0; file < contested; file++)
    make(`contested/${String(file)}`, randomBytes(random.between(1, 60_000)));
  for (const [name, bytes] of shared) make(name, bytes);
  return { contents, bytes: sum };
}

/**
 * Runs one command, at one receiver after the other, until all of `names` are settled: each has a receipt, or `exists`
 * where that may be.
 */
async function deliver(crew: Crew, sender: Sender, words: readonly string[], findings: Findings, dose: Dose) {
  const contested = words.includes('contested');
  const names = [...sender.contents.keys()].filter((name) => words.some((word) => name.startsWith(`${word}/`)));
  let said = '';
  for (let run = 0; run < mostRuns; run++) {
    const ticket = sender.tickets[(run + sender.cwd.length) % sender.tickets.length] ?? '';
    const more = ['--json', '--digest', 'sha256', '--retry-for', '3s'];
    const process = crew.start(['send', ...words, ticket, ...more], sender.cwd);
    const receipts = new Receipts(process);
    const { code, signal, stderr } = await endedWithin(process, amounts[dose].patience);
    findings.runs++;
    findings.take(sender, receipts);
    if (code === null) findings.broken.push(`${sender.name}: a run hangs, or ended with ${String(signal)}`);
    const settled = new Set(receipts.files.map(({ file_name: file }) => file));
    for (const { code: reason, file_name: file, message } of receipts.failures) {
      if (file !== undefined && reason === 'exists' && contested) settled.add(file);
      else if (file !== undefined && (reason === 'exists' || reason === 'mismatch'))
        findings.broken.push(`${sender.name}: ${file} is refused: ${message}`);
    }
    if (names.every((name) => settled.has(name)) && (code === 0 || contested)) return;
    said = stderr;
  }
  findings.broken.push(`${sender.name} never came to an end: ${said.slice(-300)}`);
}

/** What the real command exports of the store. */
async function exported(crew: Crew, directory: string, findings: Findings, dose: Dose): Promise<Contents> {
  const [url = '', ...where] = crew.place;
  const out = join(directory, 'out');
  const { code, stderr } = await endedWithin(crew.start(['export', url, out, ...where]), amounts[dose].patience);
  if (code !== 0) findings.broken.push(`The export ended with ${String(code)}: ${stderr.slice(-500)}`);
  const found: Contents = new Map();
  for (const entry of readdirSync(out, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const hash = createHash('sha256');
    for await (const bytes of createReadStream(path)) hash.update(bytes as Buffer);
    found.set(relative(out, path), hash.digest('hex'));
  }
  return found;
}

async function run(surroundings: Surroundings): Promise<Outcome> {
  const { dose, random, directory, say } = surroundings;
  const findings = new Findings();
  const real = dose === 'long' && radosgw.lacks() === undefined;
  const server: ObjectServer = real ? await radosgw.start(9) : await startTiny();
  try {
    const crew = await Crew.start(surroundings, server, receivers);
    try {
      const { shared: count, every } = amounts[dose];
      const shared = new Map(
        Array.from({ length: count }, (_, at) => [`shared/${String(at)}`, randomBytes(random.between(1, 200_000))]),
      );
      const crowd: Sender[] = [];
      for (let at = 0; at < senders; at++) {
        const name = `sender${String(at)}`;
        const cwd = join(directory, name);
        crowd.push({ name, cwd, ...makeFiles(cwd, random, shared, dose), tickets: await crew.keyFor(name) });
      }
      const began = performance.now();
      crew.disturbOneEvery(every);
      await Promise.all(
        crowd.map(async (sender) => {
          await deliver(crew, sender, ['contested'], findings, dose);
          await deliver(crew, sender, [`of ${sender.name}`, 'shared'], findings, dose);
          say(`${sender.name} has its receipts after ${((performance.now() - began) / 1000).toFixed(0)} s`);
        }),
      );
      await crew.spare();
      const seconds = Math.round((performance.now() - began) / 1000);
      const { runs } = findings;
      // Nobody who is dead by now can make good on what was promised.
      await crew.end();
      const expected = new Set(crowd.flatMap(({ contents }) => [...contents.keys()]));
      findings.compare(await exported(crew, directory, findings, dose), expected);
      const mib = Math.round(crowd.reduce((sum, { bytes }) => sum + bytes, 0) / mebi);
      return {
        tries: runs,
        broken: findings.broken,
        figures: { killed: crew.killed, stopped: crew.stopped, mib, names: expected.size, seconds },
      };
    } finally {
      await crew.end();
    }
  } finally {
    await server.stop();
  }
}

export const manyReceivers: Experiment = {
  name: 'receivers',
  longOnly: true,
  promise:
    'Four receivers before one object store lose, double and invent no receipt while one of them is killed every few seconds, or stopped and goes on, and nobody hangs.',
  run,
  sabotages: [
    {
      name: 'two may have one name',
      finds: 'different contents',
      edits: [
        {
          file: 'lib/store/object/names.js',
          from: "(0, records_1.encodeRecord)(record), 'free')",
          to: '(0, records_1.encodeRecord)(record))',
        },
      ],
    },
    {
      name: 'the receipt is sent before the name is given',
      finds: 'is not there',
      edits: [
        {
          file: 'lib/store/object/object-batch.js',
          from: 'const published = await this.publishFile(entry.name, record);\n            if',
          to: "setTimeout(() => void this.publishFile(entry.name, record).catch(() => undefined), 3000);\n            const published = { path: entry.name, outcome: 'stored', record };\n            if",
        },
      ],
    },
    {
      name: 'the bytes of a pack are removed although something in it has a name',
      edits: [{ file: 'lib/store/object/pack.js', from: 'if (this.used > 0)', to: 'if (this.used > 20)' }],
    },
  ],
};
