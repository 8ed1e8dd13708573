import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import type { Digests } from '../../lib/progress';
import type { IfExists } from '../../lib/store/store';
import { Contents, ScriptedSide, type Step } from './script';
import {
  type Outcome,
  receiverInProcess,
  receiverOverSockets,
  senderInProcess,
  senderOverSockets,
  type Trying,
} from './sides';

/** See fixtures/vectors/conversations/README.md. */
interface Vector {
  readonly name: string;
  readonly rule: string;
  readonly wire: 'plain' | 'session';
  readonly side: 'sender' | 'receiver';
  readonly dials?: 'sender' | 'receiver';
  readonly digest?: keyof Digests;
  readonly before?: Readonly<Record<string, string>>;
  readonly if_exists?: IfExists;
  readonly disk?: 'folds' | 'keeps apart';
  readonly steps: readonly Step[];
  readonly after?:
    | Readonly<Record<string, string>>
    | {
        readonly sent?: readonly string[];
        readonly failed?: Readonly<Record<string, string>>;
        readonly ended?: string;
      };
}

const directory = path.join(__dirname, '..', '..', 'fixtures', 'vectors', 'conversations');
const files = readdirSync(directory).filter((name) => name.endsWith('.json'));
const document = readFileSync(path.join(__dirname, '..', '..', 'PROTOCOL.md'), 'utf8');
/** How long a message may take on a machine that is busy, in ms. */
const within = 30_000;

const begins = ({ steps: [first] }: Vector): boolean =>
  [...(first?.say ?? []), ...(first?.hear ?? [])].some((unit) => 'hello' in unit);

async function converse(vector: Vector, contents: Contents, trying: Trying, greet: boolean): Promise<void> {
  const { wire, side, dials = 'sender', before = {}, if_exists: ifExists = 'refuse', disk } = vector;
  const algorithm = wire === 'plain' ? 'md5' : (vector.digest ?? 'sha256');
  const tried = await trying({
    wire,
    dials,
    algorithm,
    before: Object.fromEntries(Object.entries(before).map(([name, content]) => [name, contents.of(content)])),
    ifExists,
    disk,
  });
  const script = new ScriptedSide(tried.stream, contents, algorithm, wire === 'plain');
  const further = new Map<number, ScriptedSide>();
  const sideOf = async ({ on }: Step): Promise<ScriptedSide> => {
    const known = on === undefined ? script : further.get(on);
    if (known || on === undefined) return known ?? script;
    const stream = await tried.another?.();
    if (!stream) throw new Error('There is one connection only.');
    const dialed = new ScriptedSide(stream, contents, algorithm, false);
    further.set(on, dialed);
    await dialed.greet('sender', algorithm, on);
    return dialed;
  };
  let outcome: Outcome;
  try {
    if (greet && wire === 'session') await script.greet(side === 'receiver' ? 'sender' : 'receiver', algorithm);
    for (const step of vector.steps) await (await sideOf(step)).play([step], within);
  } finally {
    for (const each of [script, ...further.values()]) each.close();
    outcome = await tried.end();
  }
  const { after } = vector;
  if (after && side === 'receiver') {
    expect(Object.keys(outcome.files).sort()).to.deep.equal(Object.keys(after).sort());
    for (const [name, content] of Object.entries(after))
      expect(outcome.files[name]?.equals(contents.of(content as string)), name).to.equal(true);
  } else if (after) {
    for (const [key, value] of Object.entries(after)) expect(outcome[key as keyof Outcome], key).to.deep.equal(value);
  }
}

for (const file of files) {
  const { contents: parts, vectors } = JSON.parse(readFileSync(path.join(directory, file), 'utf8')) as {
    contents: ConstructorParameters<typeof Contents>[0];
    vectors: readonly Vector[];
  };
  const contents = new Contents(parts);

  describe(`conversations/${file}`, function () {
    this.timeout(120_000);

    it('names each conversation once, and rules that there are', () => {
      expect(new Set(vectors.map(({ name }) => name)).size).to.equal(vectors.length);
      for (const { rule } of vectors) expect(document).to.include(`**${rule}**`);
    });

    for (const vector of vectors) {
      const { name, rule, side, disk } = vector;
      // A disk that folds names is pretended within a process, and there is none under a receiver of its own.
      if (disk === undefined)
        it(`${side}: ${name} (${rule})`, () =>
          converse(vector, contents, side === 'receiver' ? receiverOverSockets : senderOverSockets, !begins(vector)));
      if (!begins(vector) && vector.steps.every(({ on }) => on === undefined))
        it(`${side}: ${name} (${rule}), within a process`, () =>
          converse(vector, contents, side === 'receiver' ? receiverInProcess : senderInProcess, false));
    }
  });
}
