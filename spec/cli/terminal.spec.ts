import { expect } from 'chai';
import { openTerminal } from './screen';

const green = { style: 'green', text: 'verified' } as const;

describe('cli/terminal', () => {
  it('writes results to stdout and everything else to stderr', () => {
    const { terminal, out, err } = openTerminal({ verbose: true });
    terminal.result('a result');
    terminal.say('a word');
    terminal.detail('a detail');
    terminal.complain('A failure.', 'An advice.');
    expect(out.lines).to.deep.equal(['a result']);
    expect(err.lines).to.deep.equal(['a word', 'a detail', 'sendall: A failure.', 'hint: An advice.']);
  });

  it('escapes what a file name could do to the terminal, in plain and in coloured pieces', () => {
    for (const tty of [false, true]) {
      const { terminal, out, err } = openTerminal({ tty });
      terminal.result('\u001b]0;owned\u0007', { style: 'green', text: '\u202egpj.exe\r\n' });
      terminal.complain('\u001b[2J', 'x\ny');
      const written = (out.text + err.text).replaceAll(/\u001b\[\d+m/g, '');
      expect(written).not.to.match(/[\u001b\u0007\u202e\r]/);
      expect(err.lines).to.have.length(2);
      expect(out.text).to.include('\\u001b]0;owned');
    }
  });

  it('colours on a terminal only, and not with --no-color, NO_COLOR or a dumb terminal', () => {
    const colored = (settings: Parameters<typeof openTerminal>[0]): boolean => {
      const { terminal, out } = openTerminal(settings);
      terminal.result(green);
      return out.text.includes('\u001b[32m');
    };
    expect(colored({ tty: true })).to.equal(true);
    expect(colored({ tty: false })).to.equal(false);
    expect(colored({ tty: true, color: false })).to.equal(false);
    expect(colored({ tty: true, env: { NO_COLOR: '1' } })).to.equal(false);
    expect(colored({ tty: true, env: { NO_COLOR: '' } })).to.equal(true);
    expect(colored({ tty: true, env: { TERM: 'dumb' } })).to.equal(false);
  });

  it('says nothing but errors with --quiet and with --json', () => {
    for (const settings of [{ quiet: true }, { json: true }]) {
      const { terminal, out, err } = openTerminal({ ...settings, verbose: true, tty: true });
      terminal.result('a result');
      terminal.say('a word');
      terminal.detail('a detail');
      terminal.complain('A failure.');
      expect(out.text).to.equal('');
      expect(err.text).to.match(/^\S*sendall: \S*A failure\.\n$/);
      expect(terminal.drawsBars).to.equal(false);
    }
  });

  it('gives the same advice only once', () => {
    const { terminal, err } = openTerminal();
    terminal.complain('One.', 'Do this.');
    terminal.complain('Two.', 'Do this.');
    expect(err.lines).to.deep.equal(['sendall: One.', 'hint: Do this.', 'sendall: Two.']);
  });

  it('shows stacks and causes only with --verbose', () => {
    const error = new Error('outer', { cause: new Error('inner') });
    const silent = openTerminal();
    silent.terminal.trace(error);
    expect(silent.err.text).to.equal('');
    const verbose = openTerminal({ verbose: true });
    verbose.terminal.trace(error);
    expect(verbose.err.text).to.match(/Error: outer\n {4}at [^]*Error: inner\n {4}at /);
  });

  it('lets what is drawn on the terminal step aside, and writes files directly', () => {
    const lifted: (() => void)[] = [];
    const { terminal, out, err } = openTerminal({ tty: true });
    terminal.hang({ lift: (write) => lifted.push(write) });
    terminal.say('later');
    expect(err.text).to.equal('');
    lifted[0]?.();
    expect(err.text).to.equal('later\n');
    Object.assign(out, { isTTY: false });
    terminal.result('now');
    expect(out.text).to.equal('now\n');
  });

  it('shows ASCII alone where the locale or the terminal has no more; files get the names as they are', () => {
    const shown = (settings: Parameters<typeof openTerminal>[0]): string => {
      const { terminal, out } = openTerminal(settings);
      terminal.result({ style: 'bold', text: 'Caf\u00e9 \u{1f389}' }, '  d675338eb2dc6f88\u2026');
      return out.text.replaceAll(/\u001b\[\d+m/g, '').trim();
    };
    const [unicode, ascii] = [
      'Caf\u00e9 \u{1f389}  d675338eb2dc6f88\u2026',
      'Caf\\u00e9 \\ud83c\\udf89  d675338eb2dc6f88...',
    ];
    const utf8: NodeJS.ProcessEnv[] = [{}, { LANG: 'de_DE.UTF-8' }, { LANG: 'C', LC_ALL: 'C.utf8' }, { LC_ALL: '' }];
    for (const env of utf8) expect(shown({ tty: true, env }), JSON.stringify(env)).to.equal(unicode);
    for (const env of [
      { LANG: 'C' },
      { LC_ALL: 'POSIX', LANG: 'en_US.UTF-8' },
      { LC_CTYPE: 'de_DE' },
      { TERM: 'dumb' },
    ])
      expect(shown({ tty: true, env }), JSON.stringify(env)).to.equal(ascii);
    expect(shown({ tty: false, env: { LANG: 'C' } })).to.equal('Caf\u00e9 \u{1f389}  d675338eb2dc6f88...');
    expect(shown({ tty: false, env: { TERM: 'dumb' } })).to.equal(unicode);
  });

  it('draws bars on a terminal that can erase, and nowhere else', () => {
    expect(openTerminal({ tty: true }).terminal.drawsBars).to.equal(true);
    expect(openTerminal({ tty: false }).terminal.drawsBars).to.equal(false);
    expect(openTerminal({ tty: true, env: { TERM: 'dumb' } }).terminal.drawsBars).to.equal(false);
  });
});
