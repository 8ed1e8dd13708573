import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { parseTicket } from '../../lib/net/ticket';
import { HostileRelay } from '../net/hostile-relay';
import { eventsOf, type SendallProcess } from './sendall-process';
import { SessionRun } from './session-run';

const mib = 1024 ** 2;
/** What would be found in the bytes of a relay if it were there. */
const phrase = 'nobody but these two reads this sentence, ';
const content = Buffer.concat([randomBytes(9 * mib), Buffer.from(phrase.repeat(50_000))]);

describe('cli: killed while a relay carries a code and its session (the built command)', function () {
  this.timeout(60_000);
  let run: SessionRun;
  let relay: HostileRelay;
  beforeEach(async () => {
    run = new SessionRun({ 'secret-plans.txt': content });
    relay = await HostileRelay.open();
  });
  afterEach(async () => {
    await run.end();
    await relay.close();
  });

  const env = (): NodeJS.ProcessEnv => ({ XDG_CONFIG_HOME: run.at('home') });
  async function show(): Promise<{ receiver: SendallProcess; code: string; ticket: string }> {
    const words = ['--address', '127.0.0.1:1', '--relay', relay.where, '--code', '--json'];
    const { receiver, ticket } = await run.receive(words);
    return { receiver, ticket, code: (await receiver.says(/"code":"(\d{6}-[a-z]+-[a-z]+)"/))[1] ?? '' };
  }
  const sender = (code: string): SendallProcess =>
    run.start(
      [
        'send',
        'secret-plans.txt',
        code,
        '--relay',
        relay.where,
        '--json',
        '--limit',
        '8M',
        '--retry-for',
        '0s',
        '--compress',
        'off',
      ],
      env(),
    );
  const halfWay = /"phase":"receive","done":[4-9]\d{6}|"phase":"receive","done":\d{8}/;

  it('either side goes on, and the relay has seen no word, no secret, no name and nothing of the content', async () => {
    const first = await show();
    const killed = sender(first.code);
    await first.receiver.says(halfWay);
    killed.child.kill('SIGKILL');
    await killed.ended;
    // The code is used up, and the same command goes on all the same.
    const again = sender(first.code);
    await again.says(/"started".*"resumed":\d{7}/);
    first.receiver.child.kill('SIGKILL');
    await first.receiver.ended;
    expect((await again.ended).code).to.equal(3);
    const second = await show();
    const last = sender(second.code);
    const sent = await last.ended;
    expect(sent.code, sent.stderr).to.equal(0);
    expect(eventsOf(sent).find((event) => event.event === 'started')).to.include.keys('resumed');
    expect(run.read('secret-plans.txt').equals(content)).to.equal(true);
    const seen = relay.captured;
    expect(seen.length).to.be.greaterThan(content.length);
    expect(seen.includes('"type":"code"')).to.equal(true);
    for (const { code, ticket } of [first, second]) {
      const { key } = parseTicket(ticket);
      const [number = '', ...words] = code.split('-');
      expect(seen.includes(number)).to.equal(true);
      for (const secret of [
        words.join('-'),
        ...words.map((word) => `"${word}`),
        Buffer.from(key),
        Buffer.from(key).toString('base64url'),
      ])
        expect(seen.includes(secret), String(secret)).to.equal(false);
    }
    for (const secret of ['secret-plans', phrase, content.subarray(5 * mib, 5 * mib + 16)])
      expect(seen.includes(secret)).to.equal(false);
  });
});
