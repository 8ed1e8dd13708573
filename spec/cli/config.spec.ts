import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { Command } from 'commander';
import { describeReceive } from '../../cli/commands/receive';
import { describeSend } from '../../cli/commands/send';
import { applyConfig, defaultConfigFile } from '../../cli/config';
import { TransferError } from '../../lib/index';

describe('cli/config', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sendall-config-'));
  const file = join(directory, 'config.json');
  after(() => rmSync(directory, { recursive: true }));

  /** The options of `words` once the defaults of `config` are filled in. */
  function options(config: unknown, words: readonly string[] = ['send', 'a', 'b']): Record<string, unknown> {
    writeFileSync(file, typeof config === 'string' ? config : JSON.stringify(config));
    const program = new Command().exitOverride().option('--json').option('--no-color').option('--config <FILE>');
    const shell = {
      settings: () => ({ json: false, quiet: false, verbose: false, color: true }),
      exit: () => undefined,
    };
    describeSend(program, shell);
    describeReceive(program, shell);
    for (const command of program.commands) command.action(() => undefined);
    program.parse(words, { from: 'user' });
    const running = program.commands.find((command) => command.name() === words[0]);
    if (!running) throw new Error('no such command');
    applyConfig(program, running, file);
    return { ...program.opts(), ...running.opts() };
  }

  it('fills in defaults, read like options of the command line', () => {
    const config = {
      json: true,
      color: false,
      send: { limit: '10M', connections: 4, exclude: ['*.tmp', '*.o'], cache: false, 'insecure-plain': true },
      receive: { quota: '1G' },
    };
    expect(options(config)).to.deep.equal({
      json: true,
      color: false,
      limit: 10 * 1024 ** 2,
      connections: 4,
      exclude: ['*.tmp', '*.o'],
      cache: false,
      insecurePlain: true,
    });
    expect(options(config, ['receive']))
      .to.include({ quota: 1024 ** 3, ifExists: 'refuse' })
      .and.not.have.property('limit');
    expect(options({ send: { exclude: '*.tmp' } })).to.deep.include({ exclude: ['*.tmp'] });
  });

  it('lets the command line win, in both directions', () => {
    const fast = options({ send: { limit: '10M', connections: 2 } }, ['send', '--limit', '1M', 'a', 'b']);
    expect(fast).to.include({ limit: 1024 ** 2, connections: 2 });
    const plain = options({ color: true, send: { cache: true } }, ['send', '--no-cache', '--no-color', 'a', 'b']);
    expect(plain).to.include({ cache: false, color: false });
  });

  it('refuses, by name, what it does not know or cannot use, also in sections of other commands', () => {
    const faults: [unknown, RegExp][] = [
      [{ jsno: true }, /no option "jsno"/],
      [{ send: { limits: '1M' } }, /send: there is no option "limits"/],
      [{ receive: { limit: '1M' } }, /receive: there is no option "limit"/],
      [{ config: 'x' }, /no option "config"/],
      [{ send: { help: true } }, /no option "help"/],
      [{ __proto__x: 1 }, /__proto__x/],
      ['{"__proto__": {"json": true}}', /__proto__/],
      [{ json: 'yes' }, /"json" must be true or false/],
      [{ send: { limit: 'fast' } }, /"limit" is invalid\. A size looks like/],
      [{ send: { limit: ['1M', '2M'] } }, /"limit" takes one value/],
      [{ send: { exclude: [1, {}] } }, /"exclude" must be a string or a number/],
      [{ receive: { 'if-exists': 'overwrite' } }, /"if-exists" is invalid/],
      [{ send: [] }, /"send" must be an object/],
      [[], /one JSON object/],
      ['{"json": tru', /cannot be read/],
    ];
    for (const [config, message] of faults) {
      expect(() => options(config), JSON.stringify(config))
        .to.throw(TransferError, message)
        .with.property('code', 'usage');
    }
  });

  it('complains about a missing file only if it was asked for', () => {
    const nowhere = { XDG_CONFIG_HOME: join(directory, 'nowhere') };
    const program = new Command();
    expect(() => applyConfig(program, program, undefined, nowhere)).not.to.throw();
    expect(() => applyConfig(program, program, join(directory, 'missing.json'))).to.throw(
      TransferError,
      /missing\.json cannot be read/,
    );
  });

  it('finds the default file where the desktop standard puts it', () => {
    expect(defaultConfigFile({ XDG_CONFIG_HOME: '/etc/me' })).to.equal('/etc/me/sendall/config.json');
    expect(defaultConfigFile({})).to.match(/\/\.config\/sendall\/config\.json$/);
    expect(defaultConfigFile({ XDG_CONFIG_HOME: 'relative' })).to.match(/\/\.config\/sendall\/config\.json$/);
    mkdirSync(join(directory, 'sendall'));
    writeFileSync(join(directory, 'sendall', 'config.json'), '{"unknown": 1}');
    const program = new Command();
    expect(() => applyConfig(program, program, undefined, { XDG_CONFIG_HOME: directory })).to.throw(/unknown/);
  });
});
