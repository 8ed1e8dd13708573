import { expect } from 'chai';
import { Failures, sentenceOf } from '../../cli/failures';
import { RawSession } from '../session/raw-session';
import { SessionRun } from './session-run';

describe('cli: failures in words', () => {
  const failed = (file_name: string, message: string): Parameters<Failures['take']>[0] => ({
    event: 'failed',
    file_name,
    code: 'name',
    message,
  });

  it('name their file once, where it stands by itself', () => {
    expect(sentenceOf(failed('a', 'a is taken.'))).to.equal('a is taken.');
    expect(sentenceOf(failed('a', 'It is xa.b and -a, a-c.'))).to.equal('a: It is xa.b and -a, a-c.');
    expect(sentenceOf(failed('a', 'No.'))).to.equal('a: No.');
    expect(sentenceOf(failed('', 'No.'))).to.equal(': No.');
    expect(sentenceOf(failed('(x', 'The name (x is none.'))).to.equal('The name (x is none.');
  });

  it('are told together by what is left without the name', () => {
    const failures = new Failures();
    const taken = ['a', 'b.c', '$d', 'e'].map((name) => failures.take(failed(name, `${name}: ${name} is taken.`)));
    expect(taken, 'three of a kind one by one').to.deep.equal([true, true, true, false]);
    expect(failures.take(failed('f', 'f is full.')), 'another kind').to.equal(true);
  });

  it('take names and messages of any length in no time', () => {
    const failures = new Failures();
    const began = performance.now();
    for (const name of ['x'.repeat(262_144), '['.repeat(262_144), 'a'.repeat(4_096)]) {
      expect(failures.take(failed(name, `${name} cannot be stored.`))).to.equal(true);
      expect(sentenceOf(failed(name, 'a'.repeat(262_144)))).to.include(': aaa');
    }
    expect(performance.now() - began).to.be.below(5_000);
  });

  it('of names that are too long refuse those entries alone (the built command)', async () => {
    const run = new SessionRun();
    try {
      const { receiver, ticket } = await run.receive(['--once', '--json']);
      const raw = await RawSession.open(ticket);
      await raw.offer({ ['x'.repeat(200_000)]: 5, [`../${'y'.repeat(200_000)}`]: 5, good: 5 });
      for (const file of [0, 1]) expect(await raw.outcome(file)).to.include({ code: 'name' });
      await raw.wanted(2);
      await raw.bundle([[2, Buffer.from('small')]]);
      expect(await raw.outcome(2)).to.have.property('verified');
      await raw.finish();
      const { code, stdout } = await receiver.ended;
      expect(code).to.equal(8);
      const names = [...stdout.matchAll(/"file_name":"([^"]*)"/g)].map(([, name = '']) => Buffer.byteLength(name));
      expect(Math.max(...names)).to.be.at.most(4_096);
    } finally {
      await run.end();
    }
  });
});
