import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { parseHookCommand } from '../../cli/hook-command';
import type { HookFailed } from '../../cli/hook-failed';
import { Hooks } from '../../cli/hooks';
import type { FileDone, TransferEvent } from '../../lib/index';
import { type Ended, eventsOf, expectEvent, printedEventsOf } from './sendall-process';
import { eventually, SessionRun } from './session-run';
import { skipTest } from '../skip-test';

describe('cli: --on-received (the built command)', function () {
  this.timeout(30_000);
  before(function () {
    if (process.platform === 'win32') skipTest(this, 'it is not about Windows');
  });
  let run: SessionRun;
  beforeEach(() => (run = new SessionRun({ 'a.txt': 'a' })));
  afterEach(() => run.end());

  /** An executable script, which is run in the directory of the test. */
  function script(lines: string): string {
    writeFileSync(run.at('a hook'), `#!/bin/sh\n${lines}\n`);
    chmodSync(run.at('a hook'), 0o700);
    return JSON.stringify([run.at('a hook')]);
  }
  const receive = (hook: string, ...words: readonly string[]) =>
    run.receive(['--once', '--on-received', hook, ...words]);
  const receipts = (): (FileDone & { readonly time: string; readonly absolute_path: string })[] =>
    readFileSync(run.at('receipts'), 'utf8')
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as FileDone & { readonly time: string; readonly absolute_path: string });
  const failuresOf = (ended: Ended): HookFailed[] => {
    const events = eventsOf(ended) as (TransferEvent | HookFailed)[];
    for (const event of events) expectEvent(event);
    return events.filter((event): event is HookFailed => event.event === 'hook-failed');
  };
  async function pid(name = 'pid'): Promise<number> {
    return eventually(() => {
      try {
        return Number(/^(\d+)\n/.exec(readFileSync(run.at(name), 'utf8'))?.[1]) || undefined;
      } catch {
        return undefined;
      }
    });
  }
  const gone = (process_: number): Promise<true> =>
    eventually(() => {
      try {
        process.kill(process_, 0);
        // Dead, and nobody asked.
        return /^State:\s+Z/m.test(readFileSync(`/proc/${String(process_)}/status`, 'utf8')) ? true : undefined;
      } catch {
        return true;
      }
    });

  it('gives the command the event as one line of JSON on standard input, in a session and on the plain wire', async () => {
    const hook = script('cat >> receipts; echo "$#" >> words; env >> environment');
    for (const wire of ['session', 'plain'] as const) {
      writeFileSync(run.at(wire), wire);
      const receiver = run.start(
        ['receive', 'in', '--once', '--json', '--listen', '127.0.0.1:0', '--on-received', hook],
        { SENDALL_TICKET: 'secret-of-ours' },
      );
      const key = wire === 'session' ? 'ticket' : 'address';
      const [, target = ''] = await receiver.says(new RegExp(`"${key}":"([^"]+)"`));
      expect((await run.run(['send', wire, target])).code).to.equal(0);
      const ended = await receiver.ended;
      expect(ended.code).to.equal(0);
      const { time: _time, absolute_path: absolute, ...receipt } = receipts().at(-1) ?? {};
      const { time: _printed, ...received } = printedEventsOf(ended).find(({ event }) => event === 'received') ?? {};
      expect(receipt).to.deep.equal(received);
      expect(absolute).to.equal(run.at('in', wire));
      expect(failuresOf(ended)).to.deep.equal([]);
    }
    expect(receipts().map(({ file_name, path }) => [file_name, path])).to.deep.equal([
      ['session', 'session'],
      ['plain', 'plain'],
    ]);
    expect(readFileSync(run.at('words'), 'utf8')).to.equal('0\n0\n');
    expect(readFileSync(run.at('environment'), 'utf8'))
      .to.match(/^PATH=/m)
      .and.not.include('SENDALL_TICKET')
      .and.not.include('secret-of-ours');
  });

  it('shows no name to a shell, however it looks', async () => {
    const names = [
      '$(touch owned)',
      '`touch owned`',
      'a; touch owned',
      "'; touch owned; '",
      '& touch owned &',
      ' leading',
      '--help',
      '-',
      'a  b',
      "it's",
      '${IFS}',
      '#x',
      '~',
      '*',
      'é',
    ];
    mkdirSync(run.at('odd'));
    for (const name of names) writeFileSync(run.at('odd', name), name);
    const { receiver, ticket } = await receive(script('cat >> receipts; touch "ran-$#"'));
    expect((await run.run(['send', 'odd', ticket])).code).to.equal(0);
    expect((await receiver.ended).code).to.equal(0);
    expect(
      receipts()
        .map(({ file_name }) => file_name)
        .sort(),
    ).to.deep.equal(names.map((name) => `odd/${name}`).sort());
    expect(existsSync(run.at('owned'))).to.equal(false);
    expect(existsSync(run.at('ran-0'))).to.equal(true);
  });

  it('says what failed, on stderr and as an event, and the transfer is none the worse', async () => {
    const failing: [hook: string, fault: RegExp][] = [
      [script('exit 3'), /ended with code 3/],
      ['sh -c "kill -9 $$"', /ended by SIGKILL/],
      ['no-such-command --x', /could not be run \(.*ENOENT/],
      [JSON.stringify([run.at('a.txt')]), /could not be run \(.*EACCES/],
    ];
    for (const [hook, fault] of failing) {
      const { receiver, ticket } = await receive(hook, '--json');
      expect((await run.run(['send', 'a.txt', ticket])).code).to.equal(0);
      const ended = await receiver.ended;
      expect(ended.code, hook).to.equal(0);
      const [failure, ...others] = failuresOf(ended);
      expect(others).to.deep.equal([]);
      expect(failure).to.include({ event: 'hook-failed', file_name: 'a.txt' });
      expect(failure?.message).to.match(fault);
      expect(ended.stderr)
        .to.match(/^sendall: a\.txt: The command of --on-received /)
        .and.match(fault);
      expect(run.read('a.txt').toString()).to.equal('a');
    }
    // The same without --json, and by the file of defaults: longer than a command line may be.
    writeFileSync(
      run.at('config'),
      JSON.stringify({ receive: { 'on-received': JSON.stringify(['sh', 'x'.repeat(4 * 1024 ** 2)]) } }),
    );
    const { receiver, ticket } = await run.receive(['--once', '--config', 'config']);
    await run.run(['send', 'a.txt', ticket]);
    expect((await receiver.ended).stderr).to.match(
      /^sendall: a\.txt: The command of --on-received could not be run \(.*E2BIG\)\.$/m,
    );
  });

  it('kills a command that takes too long, with everything that it started', async () => {
    const { receiver, ticket } = await receive(
      script('sleep 60 &\necho $! > child; echo $$ > pid; exec sleep 60'),
      '--json',
      '--hook-timeout',
      '1s',
    );
    const began = Date.now();
    expect((await run.run(['send', 'a.txt', ticket])).code).to.equal(0);
    const ended = await receiver.ended;
    expect(ended.code).to.equal(0);
    expect(Date.now() - began).to.be.within(1_000, 15_000);
    expect(failuresOf(ended)[0]?.message).to.match(/took longer than 1.0 s and was killed/);
    await gone(await pid());
    await gone(await pid('child'));
  });

  it('repeats what a command prints on stderr, marked and escaped, and never on stdout', async () => {
    const print = "printf 'out \\033[2J\\nlast'; printf 'err\\n' >&2";
    const { receiver, ticket } = await receive(script(print));
    await run.run(['send', 'a.txt', ticket]);
    const { stdout, stderr } = await receiver.ended;
    for (const line of ['out \\u001b[2J', 'last', 'err']) expect(stderr.split('\n')).to.include(`hook: ${line}`);
    expect(stdout).to.match(/^a\.txt [^\n]*\n$/);
    for (const silent of ['--json', '--quiet']) {
      const quiet = run.start([
        'receive',
        'in',
        '--once',
        '--listen',
        `unix:${run.at(silent)}`,
        '--on-received',
        script(print),
        silent,
      ]);
      await eventually(() => (existsSync(run.at(silent)) ? true : undefined));
      await run.run(['send', 'a.txt', `unix:${run.at(silent)}`]);
      const ended = await quiet.ended;
      expect(ended.code).to.equal(0);
      expect(`${ended.stdout}${ended.stderr}`).to.not.include('out ');
    }
  });

  it('waits for no process that a command left running, and for no command to read', async () => {
    const { receiver, ticket } = await receive(script('exec <&-\nsleep 60 &\necho $! > pid'), '--json');
    const began = Date.now();
    await run.run(['send', 'a.txt', ticket]);
    const ended = await receiver.ended;
    expect(Date.now() - began).to.be.lessThan(15_000);
    expect(failuresOf(ended)).to.deep.equal([]);
    process.kill(await pid(), 'SIGKILL');
  });

  it('runs a slow command for each of 500 files, at most four at once, and loses none', async () => {
    mkdirSync(run.at('many'));
    const names = Array.from({ length: 500 }, (_, at) => `many/${String(at)}`);
    for (const name of names) writeFileSync(run.at(name), name);
    const { receiver, ticket } = await receive(
      script('echo + >> running; sleep 0.01; IFS= read -r line; printf "%s\\n" "$line" >> receipts; echo - >> running'),
    );
    expect((await run.run(['send', 'many', ticket])).code).to.equal(0);
    const { code, stderr } = await receiver.ended;
    expect(code).to.equal(0);
    expect(stderr).to.match(/Waiting for the command of --on-received, \d+ runs left\./);
    expect(
      receipts()
        .map(({ file_name }) => file_name)
        .sort(),
    ).to.deep.equal([...names].sort());
    let now = 0;
    const at = readFileSync(run.at('running'), 'utf8')
      .split('\n')
      .slice(0, -1)
      .map((step) => (now += step === '+' ? 1 : -1));
    expect(Math.max(...at)).to.be.within(2, 4);
  });

  it('lets the command end after Ctrl-C, and ends it at a second one', async () => {
    for (const times of [1, 2] as const) {
      const name = `file-${String(times)}`;
      writeFileSync(run.at(name), name);
      const hook = script(`echo $$ > pid-${name}; sleep ${times === 1 ? '1' : '60'}; echo done > done-${name}`);
      const { receiver, ticket } = await run.receive(['--on-received', hook]);
      expect((await run.run(['send', name, ticket])).code).to.equal(0);
      const running = await pid(`pid-${name}`);
      receiver.child.kill('SIGINT');
      await receiver.says(/Waiting for the command of --on-received, 1 run left\./);
      if (times === 2) receiver.child.kill('SIGINT');
      expect((await receiver.ended).code).to.equal(130);
      await gone(running);
      expect(existsSync(run.at(`done-${name}`))).to.equal(times === 1);
    }
  });
});

describe('cli/hooks', () => {
  it('are for files and snapshots and for no other event, and say which snapshot they failed for', async function () {
    if (process.platform === 'win32') skipTest(this, 'it is not about Windows');
    const snapshot: TransferEvent = {
      event: 'snapshot',
      snapshot: 'laptop/2026-11-20T101233Z',
      time: '2026-11-20T10:12:33Z',
      entries: 6,
      bytes: 22,
      new_bytes: 11,
      missing: 1,
      verified_at: null,
    };
    const [lines, failures]: [string[], HookFailed[]] = [[], []];
    const command = parseHookCommand('sh -c "cat; exit 1"');
    const hooks = new Hooks({
      command,
      timeout: 10_000,
      directory: '/srv/in',
      failed: (event) => void failures.push(event),
      printed: (line) => void lines.push(line),
    });
    hooks.note({ event: 'started', file_name: 'a', file_size: 1 });
    hooks.note({ event: 'text', text: 'hello' });
    hooks.note({ event: 'failed', code: 'space', message: 'Full.' });
    expect(hooks.left).to.equal(0);
    hooks.note(snapshot);
    expect(hooks.left).to.equal(1);
    await hooks.close();
    expect(lines.map((line) => JSON.parse(line) as unknown)).to.deep.equal([
      { ...snapshot, absolute_path: '/srv/in/laptop/2026-11-20T101233Z' },
    ]);
    expect(failures).to.deep.equal([
      {
        event: 'hook-failed',
        snapshot: 'laptop/2026-11-20T101233Z',
        message: 'The command of --on-received ended with code 1.',
      },
    ]);
  });
});
