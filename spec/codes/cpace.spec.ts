import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { cpaceGenerator, cpaceKey, cpacePoint, cpaceTag, withLengths, x25519 } from '../../lib/codes/cpace';

/** fixtures/vectors/README.md says what the keys mean. */
interface CpaceVectors {
  readonly runs: readonly {
    readonly name: string;
    readonly secret: string;
    readonly channel: string;
    readonly session: string;
    readonly generator: string;
    readonly dialing: Side;
    readonly listening: Side;
    readonly shared: string;
    readonly key: string;
  }[];
  readonly points: readonly {
    readonly name: string;
    readonly scalar: string;
    readonly point: string;
    readonly result: string;
  }[];
}

interface Side {
  readonly scalar: string;
  readonly associated: string;
  readonly point: string;
}

const { runs, points } = JSON.parse(
  readFileSync(join(__dirname, '..', '..', 'fixtures', 'vectors', 'cpace.json'), 'utf8'),
) as CpaceVectors;
const bytes = (hex: string): Buffer => Buffer.from(hex, 'hex');
const share = ({ point, associated }: Side): { point: Buffer; associated: Buffer } => ({
  point: bytes(point),
  associated: bytes(associated),
});

describe('CPace', () => {
  for (const { name, secret, channel, session, generator, dialing, listening, shared, key } of runs) {
    it(`gives what the vector says: ${name}`, () => {
      const input = { secret: bytes(secret), channel: bytes(channel), session: bytes(session) };
      expect(cpaceGenerator(input).toString('hex')).to.equal(generator);
      expect(cpacePoint(bytes(dialing.scalar), input).toString('hex')).to.equal(dialing.point);
      expect(cpacePoint(bytes(listening.scalar), input).toString('hex')).to.equal(listening.point);
      expect(x25519(bytes(dialing.scalar), bytes(listening.point))?.toString('hex')).to.equal(shared);
      const shares = { dialing: share(dialing), listening: share(listening) };
      for (const own of ['dialing', 'listening'] as const) {
        const { scalar } = own === 'dialing' ? dialing : listening;
        expect(cpaceKey(bytes(scalar), input.session, own, shares)?.toString('hex')).to.equal(key);
      }
    });
  }

  for (const { name, scalar, point, result } of points) {
    it(`multiplies as the draft says, and has no result of small order: ${name}`, () => {
      const product = x25519(bytes(scalar), bytes(point));
      expect(product?.toString('hex')).to.equal(/^0*$/.test(result) ? undefined : result);
      const other = { point: bytes(point), associated: bytes('') };
      const own = { point: bytes(runs[0]?.dialing.point ?? ''), associated: bytes('') };
      const key = cpaceKey(bytes(scalar), bytes('00'), 'dialing', { dialing: own, listening: other });
      expect(key === undefined).to.equal(product === undefined);
    });
  }

  it('has another key for another session, secret, channel, order or associated data', () => {
    const [run] = runs;
    if (!run) throw new Error('There is no vector.');
    const { secret, channel, session, dialing, listening } = run;
    const input = { secret: bytes(secret), channel: bytes(channel), session: bytes(session) };
    for (const key of ['secret', 'channel', 'session'] as const)
      expect(cpaceGenerator({ ...input, [key]: bytes('00') })).to.not.deep.equal(cpaceGenerator(input));
    const keyOf = (shares: Parameters<typeof cpaceKey>[3]): string =>
      cpaceKey(bytes(dialing.scalar), input.session, 'dialing', shares)?.toString('hex') ?? '';
    const [a, b] = [share(dialing), share(listening)];
    const keys = [
      keyOf({ dialing: a, listening: b }),
      keyOf({ dialing: { ...a, associated: bytes('00') }, listening: b }),
      keyOf({ dialing: a, listening: { ...b, associated: bytes('00') } }),
    ];
    expect(new Set(keys).size).to.equal(3);
    const key = bytes(run.key);
    expect(cpaceTag(key, input.session, a)).to.not.deep.equal(cpaceTag(key, input.session, b));
  });

  it('writes lengths of more than 127 in several bytes', () => {
    // draft-irtf-cfrg-cpace-21, A.1.2
    expect(withLengths(Buffer.alloc(127)).subarray(0, 2).toString('hex')).to.equal('7f00');
    expect(withLengths(Buffer.alloc(128)).subarray(0, 3).toString('hex')).to.equal('800100');
  });
});
