import { existsSync } from 'node:fs';
import { expect } from 'chai';
import { eventsOf } from './sendall-process';
import { lastOf, SessionRun } from './session-run';

describe('cli: the addresses of a ticket (the built command)', () => {
  let run: SessionRun;
  beforeEach(() => (run = new SessionRun({ 'a.txt': 'hello\n' })));
  afterEach(() => run.end());

  const announced = ['--address', 'nowhere.invalid', '--address', '127.0.0.1'];

  it('are those that --address says, with the port that is listened on, and the one that answers is taken', async () => {
    const { receiver, ticket } = await run.receive(['--listen', '[::]:0', '--json', ...announced]);
    expect(ticket).to.match(/^sendall:\/\/nowhere\.invalid:(\d+),127\.0\.0\.1:\1\//);
    expect((await run.run(['send', 'a.txt', ticket])).code).to.equal(0);
    receiver.child.kill();
    const { addresses, port } = lastOf(eventsOf(await receiver.ended), 'listening');
    expect(addresses).to.deep.equal([`tcp://nowhere.invalid:${String(port)}`, `tcp://127.0.0.1:${String(port)}`]);
  });

  it('are those of a sender that listens too', async () => {
    const sender = run.start(['send', 'a.txt', '--listen', '[::]:0', ...announced]);
    const [, ticket = ''] = await sender.says(/^ {4}sendall receive --from (sendall:\S+)$/m);
    await sender.says(/That finds this machine at nowhere\.invalid:\d+, 127\.0\.0\.1:\d+ \(--address/);
    expect((await run.run(['receive', 'in', '--from', ticket])).code).to.equal(0);
    expect((await sender.ended).code).to.equal(0);
  });

  it('are not taken twice: --listen chooses another', async () => {
    const { ticket } = await run.receive();
    const [, port = ''] = /:(\d+)\//.exec(ticket) ?? [];
    const { code, stderr } = await run.run(['receive', 'in2', '--listen', `127.0.0.1:${port}`]);
    expect(code).to.equal(3);
    expect(stderr).to.match(/the address is already in use\.\nhint: .*--listen/);
  });

  it('are said one by one where none answers, and need --listen on the sending side', async () => {
    const { receiver, ticket } = await run.receive(['--listen', '[::]:0', ...announced]);
    receiver.child.kill();
    await receiver.ended;
    const { code, stderr } = await run.run(['send', 'a.txt', ticket]);
    expect(code).to.equal(3);
    expect(stderr).to.match(
      /No address of the other side can be reached\. .*nowhere\.invalid.*not known.*127\.0\.0\.1.*nothing listens there/,
    );
    expect((await run.run(['send', 'a.txt', ticket, '--address', 'a'])).code).to.equal(2);
    expect((await run.run(['receive', 'in', '--listen', '127.0.0.1:0', '--address', '0.0.0.0'])).code).to.equal(2);
  });

  it('are checked before anything is done, and what is no port is called that', async () => {
    const noPort =
      /^sendall: A port is 0 to 65535, and 999999 is none\.\nhint: It stands (?:alone or )?behind a host: (?:8898, )?192\.168\.1\.20:8898 or \[::1\]:8898\.\n/;
    const wrong: readonly [words: readonly string[], stderr: RegExp][] = [
      [['receive', 'new', '--listen', '999999'], noPort],
      [['receive', 'new', '--listen', ':999999'], noPort],
      [['receive', 'new', '--listen', '127.0.0.1:999999'], noPort],
      [['receive', 'new', '--web', '999999'], noPort],
      [['receive', 'new', '--web', '127.0.0.1:999999'], noPort],
      [
        ['receive', 'new', '--web', 'nowhere.invalid'],
        /"nowhere\.invalid" is no host that is known\.\nhint: .*--web PORT/,
      ],
      [['receive', 'new', '--metrics', '999999'], noPort],
      [['receive', 'new', '--address', 'foo:999999'], noPort],
      [
        ['receive', 'new', '--address', 'foo:bar'],
        /"foo:bar" is not an address.*\nhint: It looks like backup\.example\.org or/,
      ],
      [
        ['receive', 'new', '--address', '999'],
        /"999" is not an address.*\nhint: It looks like backup\.example\.org or/,
      ],
      [['receive', 'new', '--from', 'tcp://foo:999999'], noPort],
      [
        ['receive', 'new', '--relay', 'foo:999999'],
        /A port is 0 to 65535, and 999999 is none\. It stands behind a host: 192\.168\.1\.20:8898/,
      ],
      [['receive', 'new', '--relay', 'foo bar'], /It looks like relay\.example\.org or 203\.0\.113\.7:4001\./],
      [['relay', '--listen', 'unix:'], /unix: needs the path of a socket after it\.\nhint: unix:\/run\/sendall\.sock/],
      [
        ['send', 'a.txt', '--web', 'unix:a'],
        /A page is served at HOST:PORT, .*\nhint: 127\.0\.0\.1:8899, or a port alone/,
      ],
      [['send', 'a.txt', '--listen', '999999'], noPort],
      [['send', 'a.txt', '--code', '--address', 'foo:999999'], noPort],
      [['send', 'a.txt', '--listen', '0', '--address', 'foo:bar'], /"foo:bar" is not an address/],
      [['send', 'a.txt', '--web', '999999'], noPort],
      [['send', 'a.txt', 'tcp://foo:999999'], noPort],
      [['send', 'a.txt', '4821-crane-velvet@foo:999999'], noPort],
      [['authorize', 'anna', '--address', 'foo:999999'], noPort],
      [['authorize', 'anna', '--address', 'foo:bar'], /"foo:bar" is not an address/],
      [['relay', '--listen', '999999'], noPort],
      [['relay', '--listen', '0', '--metrics', '999999'], noPort],
    ];
    for (const [words, expected] of wrong) {
      const { code, stdout, stderr } = await run.run(words);
      expect({ words, code, stdout }).to.deep.equal({ words, code: 2, stdout: '' });
      expect(stderr, words.join(' '))
        .to.match(expected)
        .and.not.match(/Receiving|Relaying|insecure-plain/);
      expect(existsSync(run.at('new')), words.join(' ')).to.equal(false);
    }
  });

  it('that are taken are said to be, each with the option that chooses another', async () => {
    const { receiver } = await run.receive(['--web', '0', '--metrics', '0']);
    const [, page = ''] = await receiver.says(/http:\/\/127\.0\.0\.1:(\d+)\/#/);
    const [, metrics = ''] = await receiver.says(/Metrics at http:\/\/127\.0\.0\.1:(\d+)\//);
    const relay = run.start(['relay', '--listen', '127.0.0.1:0']);
    const [, relaying = ''] = await relay.says(/Relaying on port (\d+)\./);
    const taken: readonly [words: readonly string[], port: string, option: string][] = [
      [['send', 'a.txt', '--web', page], page, '--web 127.0.0.1:PORT'],
      [['receive', 'other', '--listen', '127.0.0.1:0', '--web', page], page, '--web 127.0.0.1:PORT'],
      [['receive', 'other', '--listen', '127.0.0.1:0', '--metrics', metrics], metrics, '--metrics 127.0.0.1:PORT'],
      [['relay', '--listen', '127.0.0.1:0', '--metrics', metrics], metrics, '--metrics 127.0.0.1:PORT'],
      [['relay', '--listen', `127.0.0.1:${relaying}`], relaying, '--listen 127.0.0.1:PORT'],
      [['send', 'a.txt', '--listen', `127.0.0.1:${relaying}`], relaying, '--listen 127.0.0.1:PORT'],
    ];
    for (const [words, port, option] of taken) {
      const { code, stdout, stderr } = await run.run(words);
      expect({ words, code, stdout }).to.deep.equal({ words, code: 3, stdout: '' });
      expect(stderr, words.join(' '))
        .to.include(`Cannot listen on tcp://127.0.0.1:${port}: the address is already in use.\nhint: `)
        .and.match(new RegExp(`hint: .*hoose another port.*${option}`));
    }
    for (const [words, option] of [
      [['relay', '--listen', 'nowhere.invalid:1'], '--listen'],
      [['receive', 'other', '--metrics', 'nowhere.invalid:1'], '--metrics'],
    ] as const) {
      const { code, stderr } = await run.run(words);
      expect({ words, code }).to.deep.equal({ words, code: 3 });
      expect(stderr).to.match(
        new RegExp(`Cannot listen on tcp://nowhere\\.invalid:1: the host name is not known\\.\nhint: .*${option}`),
      );
    }
  });
});
