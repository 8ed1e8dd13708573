import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { parseCodeTarget } from '../../lib/codes/code';
import { dialByCode, openAddresses, proposeCode, replyToCode, sealAddresses } from '../../lib/codes/exchange';
import { mostTries, OpenCode } from '../../lib/codes/open-code';
import type { TransferError } from '../../lib/errors';
import { formatAddress, parseAddress } from '../../lib/net/address';
import { Connection } from '../../lib/net/connection';
import { memoryPair } from '../../lib/net/memory-pair';
import type { SessionKey } from '../../lib/net/ticket';
import { beginsCode, codeAgreed, codeHello, parseCodeAgreed, parseCodeHello } from '../../lib/wire/code-message';
import { encodeFrame } from '../../lib/wire/frame';
import type { Role } from '../../lib/wire/hello';
import type { JsonObject } from '../../lib/wire/json-object';
import { thrownCode } from '../wire/thrown-code';

/** fixtures/vectors/README.md says what the keys mean. */
interface RunVector {
  readonly name: string;
  readonly code: string;
  readonly dials: Role;
  readonly dialing_scalar: string;
  readonly listening_scalar: string;
  readonly hello: JsonObject;
  readonly answer: JsonObject;
  readonly proof: JsonObject;
  readonly id: string;
  readonly key: string;
  readonly addresses?: readonly string[];
  readonly agreed?: JsonObject;
}

const { runs } = JSON.parse(readFileSync(join(__dirname, '..', '..', 'fixtures', 'vectors', 'codes.json'), 'utf8')) as {
  readonly runs: readonly RunVector[];
};
const bytes = (hex: unknown): Buffer => Buffer.from(String(hex), 'hex');
const other = (role: Role): Role => (role === 'sender' ? 'receiver' : 'sender');
const code = parseCodeTarget('4821-crane-velvet').code;
const wrong = parseCodeTarget('4821-crane-violin').code;

describe('two sides with a code', () => {
  for (const vector of runs) {
    it(`say what the vector says: ${vector.name}`, () => {
      const { code } = parseCodeTarget(vector.code);
      const chance = { session: bytes(vector.hello['session']), scalar: bytes(vector.dialing_scalar) };
      const proposal = proposeCode(code, vector.dials, chance);
      expect(codeHello(proposal.hello)).to.deep.equal(vector.hello);
      const hello = parseCodeHello(vector.hello);
      const reply = replyToCode(code, other(vector.dials), hello, bytes(vector.listening_scalar));
      expect(reply.answer).to.deep.equal(vector.answer);
      const { key, proof } = proposal.take(vector.answer);
      expect(proof).to.deep.equal(vector.proof);
      for (const each of [key, reply.take(vector.proof)]) {
        expect(each.id).to.equal(vector.id);
        expect(Buffer.from(each.key).toString('hex')).to.equal(vector.key);
      }
      const { addresses, agreed } = vector;
      if (!addresses || !agreed) return;
      const sealed = sealAddresses(
        addresses.map((each) => parseAddress(each)),
        key,
      );
      expect(codeAgreed(sealed)).to.deep.equal(agreed);
      expect(openAddresses(parseCodeAgreed(agreed) ?? Buffer.alloc(0), key).map(formatAddress)).to.deep.equal(
        addresses,
      );
      for (let at = 0; at < sealed.length; at++) {
        const changed = Buffer.from(sealed);
        changed[at] = (changed[at] ?? 0) ^ 1;
        expect(thrownCode(() => openAddresses(changed, key))).to.equal('bad-header');
      }
      expect(thrownCode(() => openAddresses(sealed.subarray(0, 3), key))).to.equal('bad-header');
    });
  }

  /** What becomes of a run between these two codes, where somebody between them changes frames. */
  function run(
    between: {
      hello?: (hello: JsonObject) => JsonObject;
      answer?: (answer: JsonObject, hello: JsonObject) => JsonObject;
      proof?: (proof: JsonObject) => JsonObject;
    },
    listening = code,
  ): string {
    const same = (header: JsonObject): JsonObject => header;
    const { hello = same, answer = same, proof = same } = between;
    return thrownCode(() => {
      const proposal = proposeCode(code, 'sender');
      const said = codeHello(proposal.hello) as JsonObject;
      const reply = replyToCode(listening, 'receiver', parseCodeHello(hello(said)));
      const taken = proposal.take(answer(reply.answer as JsonObject, said));
      reply.take(proof(taken.proof as JsonObject));
    });
  }

  it('agree only if they have the same one', () => {
    expect(run({})).to.equal('none');
    expect(run({}, wrong)).to.equal('not-authorized');
    expect(run({}, { ...code, number: '4822' })).to.equal('not-authorized');
  });

  it('notice whatever somebody between them changes, also in what they offer', () => {
    const flipped = (key: string) => (header: JsonObject) => ({
      ...header,
      [key]: `${String(header[key]).slice(0, -1)}${String(header[key]).endsWith('0') ? '1' : '0'}`,
    });
    const offered = (text: string) => (header: JsonObject) => ({ ...header, offer: text });
    for (const key of ['session', 'point']) expect(run({ hello: flipped(key) }), key).to.equal('not-authorized');
    for (const key of ['point', 'tag']) expect(run({ answer: flipped(key) }), key).to.equal('not-authorized');
    expect(run({ proof: flipped('tag') })).to.equal('not-authorized');
    const stripped = '{"version":1,"role":"sender","more":[]}';
    expect(run({ hello: offered(stripped) })).to.equal('not-authorized');
    expect(run({ answer: offered(stripped.replace('sender', 'receiver')) })).to.equal('not-authorized');
    expect(run({ answer: offered(stripped) }), 'a role turned round').to.equal('usage');
    // Reflection: what we said ourselves is no answer.
    expect(run({ answer: (answer, hello) => ({ ...answer, point: hello['point'] }) })).to.equal('not-authorized');
  });

  it('take no point of small order, and nothing that is not of the form', () => {
    const zero = (header: JsonObject): JsonObject => ({ ...header, point: '0'.repeat(64) });
    expect(run({ hello: zero })).to.equal('not-authorized');
    expect(run({ answer: zero })).to.equal('not-authorized');
    const bad: readonly JsonObject[] = [
      { number: '482' },
      { number: 4821 },
      { session: 'ab' },
      { session: 'G'.repeat(32) },
      { point: 'AB'.repeat(32) },
      { point: 7 },
      { offer: '{"version":2,"role":"sender"}' },
      { offer: '{"version":1,"role":"both"}' },
      { offer: `{"version":1,"role":"sender","more":"${'x'.repeat(1024)}"}` },
      { type: 'codes' },
    ];
    for (const change of bad)
      expect(run({ hello: (hello) => ({ ...hello, ...change }) }), JSON.stringify(change)).to.equal('bad-header');
    expect(run({ hello: (hello) => ({ ...hello, offer: 'no' }) })).to.equal('bad-frame');
    expect(run({ answer: (answer) => ({ ...answer, tag: 'ab' }) })).to.equal('bad-header');
  });

  it('begin with a frame that is told from all others by its first bytes', () => {
    const frame = encodeFrame(codeHello(proposeCode(code, 'sender').hello));
    for (let length = 0; length <= frame.length; length++)
      expect(beginsCode(frame.subarray(0, length))).to.equal(length < 19 ? undefined : true);
    expect(beginsCode(encodeFrame({ file_name: 'a' }))).to.equal(false);
    expect(beginsCode(Buffer.from([0x16, 3, 1, 0, 0]))).to.equal(false);
  });
});

describe('a code that is shown', () => {
  /** One who dials and does `work`; resolves with what the side that shows the code says of it. */
  async function tried(
    shown: OpenCode,
    keys: SessionKey[],
    work: (dialing: Connection) => Promise<unknown>,
  ): Promise<string> {
    const [near, far] = memoryPair();
    const answered = shown
      .answer(new Connection(far, 'there'), (key) => keys.push(key))
      .then(
        () => 'agreed',
        (error: unknown) => (error as TransferError).message,
      );
    const dialing = new Connection(near, 'here');
    await work(dialing).catch(() => undefined); // what the other side says of it is what counts here
    dialing.close();
    return answered;
  }
  const dialed = async (dialing: Connection): Promise<unknown> => (await dialByCode(dialing, code, 'sender')).prove();
  const guessed = (dialing: Connection): Promise<unknown> => dialByCode(dialing, wrong, 'sender');
  /** Says a public value and leaves. */
  const left = async (dialing: Connection): Promise<void> => {
    await dialing.send(codeHello(proposeCode(code, 'sender').hello));
    await dialing.readHeader({ silence: 0, whole: 1000 });
  };

  it('is good once', async () => {
    const [shown, keys] = [new OpenCode('receiver', code), [] as SessionKey[]];
    expect(await tried(shown, keys, guessed)).to.match(/wrong code: 2 tries are left/);
    expect(await tried(shown, keys, dialed)).to.equal('agreed');
    expect(await tried(shown, keys, dialed)).to.match(/has been used/);
    expect(keys).to.have.length(1);
  });

  it('is used up after three tries that came to nothing, those that were only cut among them', async () => {
    const [shown, keys] = [new OpenCode('receiver', code), [] as SessionKey[]];
    const over = shown.over.catch((error: unknown) => (error as TransferError).code);
    expect(await tried(shown, keys, left)).to.match(/2 tries are left/);
    expect(await tried(shown, keys, guessed)).to.match(/1 try is left/);
    expect(await tried(shown, keys, left)).to.match(/three times/);
    expect(await over).to.equal('not-authorized');
    expect(await tried(shown, keys, dialed)).to.match(/three times/);
    expect(keys).to.deep.equal([]);
  });

  it('takes no more than three tries at once', async () => {
    const [shown, keys] = [new OpenCode('receiver', code), [] as SessionKey[]];
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => tried(shown, keys, guessed)));
    expect(outcomes.filter((outcome) => /tr(y|ies) (is|are) left/.test(outcome))).to.have.length(mostTries - 1);
    expect(keys).to.deep.equal([]);
  });

  it('is not tried by another number, by the same role or by noise', async () => {
    const [shown, keys] = [new OpenCode('receiver', code), [] as SessionKey[]];
    for (let times = 0; times < 4; times++) {
      const elsewhere = { ...code, number: '0000' };
      expect(await tried(shown, keys, (dialing) => dialByCode(dialing, elsewhere, 'sender'))).to.match(
        /another number/,
      );
      expect(await tried(shown, keys, (dialing) => dialByCode(dialing, code, 'receiver'))).to.match(/Both sides/);
      expect(await tried(shown, keys, (dialing) => dialing.send({ type: 'code' }))).to.match(/lacks number/);
    }
    expect(await tried(shown, keys, dialed)).to.equal('agreed');
  });

  it('is good for a time', async () => {
    const [shown, keys] = [new OpenCode('receiver', code, 1), [] as SessionKey[]];
    const failure = await shown.over.catch((error: unknown) => error as TransferError);
    expect(failure.code).to.equal('timeout');
    expect(await tried(shown, keys, dialed)).to.match(/in time/);
    expect(keys).to.deep.equal([]);
  });
});
