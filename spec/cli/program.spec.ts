import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { columnsOf } from '../../cli/bar-line';
import { describeProgram } from '../../cli/program';
import { filled } from '../../cli/rows';
import { sendall } from './sendall-process';

describe('cli/program (the built command)', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sendall-program-'));
  const options = { cwd: directory };
  const everywhere = ['--json', '--quiet', '--verbose', '--no-color', '--config', '--version'];
  before(() => writeFileSync(join(directory, 'a.txt'), 'a'));
  after(() => rmSync(directory, { recursive: true }));

  it('prints its version and its help on stdout and ends with 0', async () => {
    const { version } = require('../../package.json') as { version: string };
    expect(await sendall(['--version'], options)).to.deep.equal({ code: 0, stdout: `${version}\n`, stderr: '' });
    for (const words of [['--help'], ['send', '--help'], ['receive', '-h'], ['help', 'send']]) {
      const { code, stdout, stderr } = await sendall(words, options);
      expect({ code, stderr }, words.join(' ')).to.deep.equal({ code: 0, stderr: '' });
      expect(stdout)
        .to.match(/^Usage: sendall /)
        .and.match(/\n {2}\$ sendall /);
      for (const flag of [...everywhere, '--help']) expect(stdout).to.include(flag);
      for (const line of stdout.split('\n')) expect(line.length, line).to.be.at.most(100);
    }
  });

  it('has a help of each command that fits, says defaults as people do, and fills paragraphs of a narrow one', () => {
    const program = describeProgram();
    for (const command of [program, ...program.commands.flatMap((each) => [each, ...each.commands])]) {
      for (const columns of [100, 80, 40]) {
        let help = '';
        command.configureOutput({
          writeOut: (text) => (help += filled(text, columns)),
          getOutHelpWidth: () => columns,
        });
        command.outputHelp();
        const where = `${command.name()}, ${String(columns)} columns`;
        expect(help, where).to.not.match(/default: \d{5}| $/m);
        for (const line of help.split('\n')) {
          // What is to be copied stays whole, and so does a table.
          const mayBeLonger = columns < 100 && /^(?: {2}|Usage: )/.test(line);
          if (!mayBeLonger) expect(columnsOf(line), `${where}: ${line}`).to.be.at.most(columns);
        }
      }
    }
  });

  it('names exactly the options that there are', async () => {
    const flags = async (command: string): Promise<string[]> =>
      [...(await sendall([command, '--help'], options)).stdout.matchAll(/^ {2}(?:-[a-gi-z], )?(--[a-z-]+)/gm)].map(
        (match) => match[1] ?? '',
      );
    expect(await flags('send')).to.deep.equal([
      '--to-all',
      '--name',
      '--listen',
      '--address',
      '--code',
      '--words',
      '--relay',
      '--relay-password-file',
      '--text',
      '--digest',
      '--connections',
      '--congestion',
      '--compress',
      '--limit',
      '--retry-for',
      '--exclude',
      '--exclude-if-present',
      '--exclude-caches',
      '--one-file-system',
      '--check',
      '--metadata',
      '--no-cache',
      '--insecure-plain',
      '--plain',
      '--web',
      '--qr',
      '--web-url',
      '--tls-cert',
      '--tls-key',
      '--tls-self-signed',
      '--once',
      ...everywhere,
    ]);
    expect(await flags('receive')).to.deep.equal([
      '--listen',
      '--address',
      '--code',
      '--no-code',
      '--qr',
      '--words',
      '--announce',
      '--relay',
      '--relay-password-file',
      '--once',
      '--from',
      '--retry-for',
      '--if-exists',
      '--metadata',
      '--insecure-plain',
      '--no-plain',
      '--allow-hidden',
      '--names',
      '--max-size',
      '--quota',
      '--quota-files',
      '--idle-limit',
      '--on-received',
      '--hook-timeout',
      '--log-level',
      '--metrics',
      '--web',
      '--web-read',
      '--web-url',
      '--tls-cert',
      '--tls-key',
      '--tls-self-signed',
      '--endpoint',
      '--region',
      '--credentials',
      '--trust-store',
      '--single-receiver',
      ...everywhere,
    ]);
  });

  const wrong: [string[], RegExp, RegExp][] = [
    [[], /No command given\./, /sendall --help/],
    [['frobnicate'], /Unknown command 'frobnicate'\./, /sendall --help/],
    [['sned'], /Unknown command 'sned'\./, /Did you mean send\?/],
    [['help', 'frobnicate'], /Unknown command 'frobnicate'\./, /sendall --help/],
    [['help', 'sen'], /Unknown command 'sen'\./, /Did you mean send\?/],
    [['help', 'sen', '--verbose'], /Unknown command 'sen'\./, /Did you mean send\?/],
    [['peers', 'help', 'lave'], /Unknown command 'lave'\./, /Did you mean leave\?/],
    [['peers'], /No command given\./, /sendall peers --help/],
    [['peers', 'leave', 'fam'], /Missing required argument 'NAME'\./, /sendall peers leave --help/],
    [['peers', 'join', '--frob'], /Unknown option '--frob'\./, /sendall peers join --help/],
    [['--frob'], /Unknown option '--frob'\./, /sendall --help/],
    [['send', '--nmae', 'x', 'a', 'b'], /Unknown option '--nmae'\./, /Did you mean --name\?/],
    [['send', 'a.txt', `-${'k9_'.repeat(21)}`], /looks like the token of a ticket/, /sendall:\/\/HOST:PORT\/TOKEN/],
    [['send', 'a.txt', `-v${'k9_'.repeat(21)}`], /looks like the token of a ticket/, /sendall:\/\/HOST:PORT\/TOKEN/],
    [['forget', `-vqn${'k9_'.repeat(21)}`], /looks like the token of a ticket/, /sendall:\/\/HOST:PORT\/TOKEN/],
    [['send', 'a.txt', '-vk'], /Unknown option '-k'\./, /sendall send --help/],
    [['send', 'a.txt', '--listen', 'k9_-'.repeat(16)], /That is no host/, /sendall:\/\/HOST:PORT\/TOKEN/],
    [['authorize', 'x', '--dir', 's3://b/p'], /No bucket can be called "b"\./, /3 to 63 characters/],
    [['authorize', 'x', '--dir', 's3://'], /names no bucket\./, /s3:\/\/BUCKET\/PREFIX/],
    [['authorize', 'x', '--dir', 'nothere'], /nothere does not exist\./, /mkdir -m 700 nothere/],
    [['receive', 'in', '--web', '0.0.0.0:0'], /Others on the network could read/, /--tls-self-signed/],
    [['adopt', 'nothere'], /There is no directory nothere here\./, /^$/],
    [['send', 'nothere', '--web', '0'], /nothere does not exist/, /^$/],
    [['send'], /The target is missing/, /a ticket/],
    [['send', 'a.txt'], /The target is missing: "a\.txt" is something to send\./, /tcp:\/\/HOST:PORT/],
    [['send', 'a.txt', 'a.txt'], /The target is missing/, /It comes last/],
    [['send', 'tcp://127.0.0.1:1'], /There is nothing to send\./, /sendall send FILE tcp:\/\/127\.0\.0\.1:1/],
    [
      ['send', 'a.txt', '127.0.0.1:8898'],
      /"127\.0\.0\.1:8898" is not a target\./,
      /Did you mean tcp:\/\/127\.0\.0\.1:8898\?/,
    ],
    [['send', 'a.txt', '127.0.0.1:99999'], /A port is 0 to 65535, and 99999 is none\./, /stands behind a host/],
    [['send', 'a.txt', '4821-crane@127.0.0.1:8898'], /That is not a whole code\./, /4821-crane-velvet@HOST/],
    [
      ['backup', 'a.txt', 'nothere', '--name', 'b'],
      /There is no directory nothere here, and no peer of that name\./,
      /mkdir -m 700; or sendall peers list/,
    ],
    [['send', 'a.txt', 'http://x/'], /"http:\/\/x\/" is not a target\./, /tcp:\/\/HOST:PORT/],
    [
      ['send', 'a.txt', '--listen', '127.0.0.1:0', 'tcp://127.0.0.1:1'],
      /both a target and --listen/,
      /leave out the target/,
    ],
    [['send', '-', 'tcp://127.0.0.1:1'], /Standard input needs a name\./, /--name NAME/],
    [['send', 'a.txt', 'a.txt', '--name', 'x', 'tcp://127.0.0.1:1'], /--name is for a single file\./, /^$/],
    [
      ['send', '--limit', 'fast', 'a.txt', 'tcp://127.0.0.1:1'],
      /'fast' is invalid\. A size looks like/,
      /sendall send --help/,
    ],
    [['send', '--connections', '0', 'a.txt', 'tcp://127.0.0.1:1'], /1 to 64, or auto/, /sendall send --help/],
    [['receive', 'a', 'b'], /Too many arguments/, /sendall receive --help/],
    [
      ['receive', '--if-exists', 'overwrite'],
      /Allowed choices are refuse, skip, rename, replace/,
      /sendall receive --help/,
    ],
    [
      ['receive', '--from', 'example.org'],
      /"example\.org" is neither a ticket nor the address of a sender\./,
      /tcp:\/\/HOST:PORT.*@FILE.*peer/,
    ],
    [['receive', '--from', 'tcp://127.0.0.1:1', '--listen', ':0'], /cannot be used with/, /sendall receive --help/],
    [['receive', '--on-received', '"index'], /'"index' is invalid\. A " is not closed\./, /sendall receive --help/],
    [['receive', '--hook-timeout', '0s'], /'0s' is invalid\. It must be 1s to 20d\./, /sendall receive --help/],
    [['receive', '--quota', '-5'], /'-5' is invalid/, /sendall receive --help/],
    [['send', 'a.txt', 'tcp://127.0.0.1:1', '--config', 'missing.json'], /missing\.json cannot be read/, /^$/],
  ];
  for (const [words, sentence, hint] of wrong) {
    it(`calls "sendall ${words.join(' ')}" wrong usage, in one clear line and a hint`, async () => {
      const { code, stdout, stderr } = await sendall(words, options);
      expect({ code, stdout }).to.deep.equal({ code: 2, stdout: '' });
      const [first = '', second = '', ...others] = stderr.split('\n');
      expect(first)
        .to.match(/^sendall: /)
        .and.match(sentence);
      expect(second.replace(/^hint: /, '')).to.match(hint);
      const more = others.filter((line) => line !== '');
      if (words.length > 0) expect(more).to.deep.equal([]);
      else {
        expect(more.join('\n')).to.match(/sendall receive inbox .*\n {2}sendall send FILE.*\n {2}sendall backup/);
        for (const line of more) expect(line.length, line).to.be.below(80);
      }
    });
  }

  it('says wrong usage as a failed event as well when --json was asked for, before or after the mistake', async () => {
    const mistakes = ['--json frob', 'send --frob --json', 'send --json a.txt', '--config none receive --json'];
    for (const words of mistakes.map((line) => line.split(' '))) {
      const { code, stdout, stderr } = await sendall(words, options);
      expect(code).to.equal(2);
      expect(stdout.split('\n')).to.have.length(2);
      expect(JSON.parse(stdout)).to.include({ event: 'failed', code: 'usage' });
      expect(stderr).to.match(/^sendall: /);
    }
    const file = await sendall(['receive', '--', '--json', 'more'], options);
    expect(file.stdout).to.equal('');
  });

  it('shows a stack with --verbose only', async () => {
    expect((await sendall(['send', 'a.txt'], options)).stderr).not.to.match(/\n +at /);
    expect((await sendall(['send', 'a.txt', '--verbose'], options)).stderr).to.match(/\n +at /);
  });

  it('shows none of how the command line is read: it says nothing to whoever typed it', async () => {
    for (const words of [['--verbose'], ['peers', '--verbose'], ['frobnicate', '--verbose'], ['send', '--frob', '-v']])
      expect((await sendall(words, options)).stderr, words.join(' ')).not.to.match(/Commander|\n +at /);
  });

  it('says of a group that it goes with its last peer', async () => {
    const { stdout } = await sendall(['peers', 'leave', '--help'], options);
    expect(stdout.replaceAll(/\s+/g, ' ')).to.include('Takes peers out of a group, which goes with its last one.');
  });

  it('cannot be made to write escape sequences by its arguments', async () => {
    const { stderr } = await sendall(['send', 'a.txt', '\u001b]0;owned\u0007'], options);
    expect(stderr).to.include('\\u001b]0;owned\\u0007').and.not.include('\u001b');
  });
});
