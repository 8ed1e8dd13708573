import { expect } from 'chai';
import type { Terminal } from '../../cli/terminal';
import { ReceiverView, RestoreView, SenderView, type View } from '../../cli/view';
import { type ErrorCode, TransferError } from '../../lib/index';
import type { FileDone, Summary, TransferEvent } from '../../lib/index';
import { openTerminal } from './screen';

const file = (file_name: string, more: Partial<FileDone> = {}): FileDone => ({
  file_name,
  file_size: 1024,
  digests: { md5: '8f6fbf8347faa4924a76856701edb0f3' },
  verified: 'device',
  bytes_on_wire: 1100,
  seconds: 0.5,
  ...more,
});
const summary = (files: number, bottleneck: Summary['bottleneck'] = 'network'): TransferEvent => ({
  event: 'summary',
  files,
  bytes: files * 1024 ** 2,
  bytes_on_wire: files * 1100,
  seconds: 1,
  bottleneck,
});
const failed = (file_name: string): TransferEvent => ({
  event: 'failed',
  file_name,
  code: 'exists',
  message: 'The name is taken.',
  hint: 'Rename it.',
});

describe('cli/view', () => {
  it('counts no file as failed because whoever runs the receiver stopped it, and says what goes on', () => {
    const { terminal, out, err } = openTerminal();
    const view = new ReceiverView(terminal, { command: 'send FILE', insecurePlain: false });
    view.show({ event: 'failed', file_name: 'a', code: 'interrupted', message: 'The receiver was stopped.' });
    view.show({ event: 'failed', file_name: 'b', code: 'interrupted', message: 'The receiver was stopped.' });
    view.show(summary(0));
    view.show({ event: 'failed', code: 'interrupted', message: 'The receiver was stopped.' });
    view.close();
    expect(out.text).to.equal('');
    expect(err.lines).to.deep.equal([
      'Stopped in the middle of a transfer. What came is kept: start this again, and the sender with the new ticket or code (a key stays as it is).',
      'Stopped in the middle of 2 files, of which nothing is stored.',
    ]);
  });

  it('gives the owner of a receiver no hope of a part of a file that came by the plain wire', () => {
    const { terminal, err } = openTerminal();
    const view = new ReceiverView(terminal, { command: 'send FILE', insecurePlain: false });
    // The name is none of the letters of the sentence.
    const { code, message, hint = '' } = new TransferError('timeout', 'Nothing arrived for 30 s.');
    view.show({ event: 'failed', file_name: 'a', code, message, hint });
    expect(err.lines).to.deep.equal([
      'sendall: a: Nothing arrived for 30 s.',
      'hint: Nothing of that file is stored: it comes whole when it is sent again.',
    ]);
  });

  it('says to whoever stops a sender of the plain wire what is there, and what the same command does', () => {
    const { view, err } = sender();
    view.show({ event: 'sent', ...file('a') });
    view.show({ event: 'failed', file_name: 'b', code: 'interrupted', message: 'Interrupted.' });
    view.show(summary(1));
    expect(err.lines).to.deep.equal([
      'Stopped. 1 file is there. A file that came in part is not kept; the same command sends the rest.',
    ]);
  });

  it('ends a sum with the receiver that has everything, whose directory it does not know', () => {
    const { terminal, out } = openTerminal();
    const view = new SenderView(terminal, { command: 'receive --from', insecurePlain: false }, 'homeserver');
    view.show({ event: 'sent', ...file('a') });
    view.show({ event: 'sent', ...file('b') });
    view.show(summary(2));
    expect(out.lines[2]).to.match(/^2 files .*  in the receive directory of homeserver$/);
  });

  const sender = (settings?: Parameters<typeof openTerminal>[0]) => {
    const screens = openTerminal(settings);
    return { ...screens, view: new SenderView(screens.terminal, { command: 'receive --from', insecurePlain: false }) };
  };

  it('tells of a single file in one line on stdout, with what held it back', () => {
    const { view, out, err } = sender();
    view.show({ event: 'started', file_name: 'a', file_size: 1024 });
    view.show({ event: 'sent', ...file('a') });
    expect(out.text).to.equal('');
    view.show(summary(1, 'hash'));
    expect(out.lines).to.deep.equal([
      'a  1.0 KiB  md5 8f6fbf8347faa492…  verified on device  0.50 s  held back by: hash',
    ]);
    expect(err.text).to.equal('');
  });

  it('lists a few files and sums them up, by the weakest confirmation', () => {
    const { view, out } = sender();
    view.show({ event: 'sent', ...file('a') });
    view.show({ event: 'sent', ...file('b', { verified: 'cache' }) });
    view.show(summary(2));
    expect(out.lines).to.have.length(3);
    expect(out.lines[2])
      .to.include('2 files')
      .and.include('verified (page cache only)')
      .and.include('held back by: network');
  });

  it('tells only the sum of many, and of each with --verbose', () => {
    for (const verbose of [false, true]) {
      const { view, out, err } = sender({ verbose });
      for (let index = 0; index < 20; index += 1) view.show({ event: 'sent', ...file(`file-${index.toString()}`) });
      expect(err.lines).to.have.length(verbose ? 20 : 0);
      view.show(failed('bad'));
      view.show(summary(20));
      expect(out.lines).to.have.length(1);
      expect(out.lines[0]).to.match(/^20 files .* 1 failed {2}held back by: network$/);
      expect(err.lines.slice(verbose ? 20 : 0)).to.deep.equal(['sendall: bad: The name is taken.', 'hint: Rename it.']);
    }
  });

  it('names the first three failures of a kind, and says how many more there were before the sum', () => {
    const { view, out, err } = sender();
    for (let index = 0; index < 50; index += 1) view.show(failed(`bad-${index.toString()}`));
    view.show({ event: 'failed', file_name: 'other', code: 'space', message: 'other does not fit.' });
    for (const name of ['a', 'b', 'c', 'd', 'e'])
      view.show({
        event: 'failed',
        file_name: name,
        code: 'space',
        message: `The disk is full; ${name} was not stored.`,
      });
    view.show(summary(7));
    expect(err.lines).to.deep.equal([
      'sendall: bad-0: The name is taken.',
      'hint: Rename it.',
      'sendall: bad-1: The name is taken.',
      'sendall: bad-2: The name is taken.',
      'sendall: other does not fit.',
      'sendall: The disk is full; a was not stored.',
      'sendall: The disk is full; b was not stored.',
      'sendall: The disk is full; c was not stored.',
      'sendall: 47 more files: The name is taken.',
      'sendall: 2 more files: The disk is full; it was not stored.',
    ]);
    expect(out.lines.at(-1)).to.include('56 failed');
  });

  it('says at the end what is there when the other side was stopped, and that the same command goes on', () => {
    const { view, err } = sender();
    view.show({ event: 'failed', code: 'stopped', message: 'The receiver was stopped.', hint: 'Start it again.' });
    view.show({ ...(summary(12) as TransferEvent & { event: 'summary' }), offered: 40 });
    expect(err.lines).to.deep.equal([
      'sendall: The receiver was stopped.',
      '12 of 40 files are there. What came is kept; the same command goes on.',
    ]);
  });

  it('says what to type instead where a ticket or a code ends with its receiver', () => {
    for (const [target, words] of [
      ['code', /^What came is kept: send it again once the receiver runs, with its new code or ticket\.$/],
      ['ticket', /send it again once the receiver runs, with its new ticket \(a key stays as it is\)\.$/],
    ] as const) {
      for (const code of ['stopped', 'interrupted'] as const) {
        const { terminal, err } = openTerminal({});
        const view = new SenderView(terminal, { command: 'receive --from', insecurePlain: false }, 'it', target);
        view.show({ event: 'failed', code, message: 'It ended.' });
        view.show({ ...(summary(0) as TransferEvent & { event: 'summary' }), offered: 40 });
        const last = String(err.lines.at(-1));
        if (code === 'stopped') expect(last).to.match(words);
        else expect(last).to.equal('Stopped. What came is kept; the same command goes on.');
      }
    }
    for (const [target, state, words] of [
      ['ticket', 'lost', /goes on\. If the receiver was started again, type its new ticket or code instead\.$/],
      ['ticket', 'back', /the same command goes on\.$/],
      ['lasts', 'lost', /the same command goes on\.$/],
    ] as const) {
      const { terminal, err } = openTerminal({});
      const view = new SenderView(terminal, { command: 'receive --from', insecurePlain: false }, 'it', target);
      view.show({ event: 'connection', state: 'lost', message: 'It is away.', retry_for: 300 });
      if (state === 'back') view.show({ event: 'connection', state });
      view.show({ event: 'failed', code: 'interrupted', message: 'It ended.' });
      view.show({ ...(summary(0) as TransferEvent & { event: 'summary' }), offered: 40 });
      expect(err.lines.at(-1), `${target}, ${state}`).to.match(words);
    }
    for (const code of ['stopped', 'connection-lost', 'interrupted'] as const) {
      const { terminal, err } = openTerminal({});
      const view = new SenderView(terminal, { command: 'receive --from', insecurePlain: false }, 'it', 'listens');
      view.show({ event: 'failed', code, message: 'It ended.' });
      view.show({ ...(summary(0) as TransferEvent & { event: 'summary' }), offered: 40 });
      expect(err.lines.at(-1)).to.match(/the same command goes on, with a new ticket or code for the receiver\.$/);
    }
  });

  it('says what to type for the rest of a restore, and that nothing is kept of one to standard output', () => {
    for (const [destination, from, code, words] of [
      [
        '/back',
        'ticket',
        'stopped',
        'What came is kept: restore it again once the receiver runs, with its new ticket (a key stays as it is).',
      ],
      ['/back', 'lasts', 'stopped', 'What came is kept; the same command goes on.'],
      ['/back', 'ticket', 'interrupted', 'Stopped. What came is kept; the same command goes on.'],
      [undefined, 'lasts', 'interrupted', 'Stopped. Nothing of it is kept; the same command begins anew.'],
    ] as const) {
      const { terminal, err } = openTerminal({});
      const view = new RestoreView(terminal, destination, from);
      view.show({ event: 'failed', code, message: 'It ended.' });
      view.show({ ...(summary(0) as TransferEvent & { event: 'summary' }), offered: 1 });
      expect(err.lines.at(-1)).to.equal(words);
    }
  });

  it('says to a receiver that dialed how it goes on, but for the plain wire, which has no tickets', () => {
    for (const [meets, code, words] of [
      ['dials', 'stopped', /new ticket or code that the sender shows when it is started again\.$/],
      [
        'dials',
        'connection-lost',
        /same command goes on as long as the sender runs; started again, .* new ticket or code/,
      ],
      ['dials', 'timeout', /same command goes on as long as the sender runs; started again, .* new ticket or code/],
      ['dials-plain', 'connection-lost', /^hint: What the library says\.$/],
    ] as const) {
      const { terminal, err } = openTerminal({});
      const view = new ReceiverView(terminal, { command: 'send FILE', insecurePlain: false }, meets);
      view.show({ event: 'failed', code, message: 'It ended.', hint: 'What the library says.' });
      expect(err.lines.at(-1), `${meets} ${code}`).to.match(words);
    }
  });

  it('says of a tree that was stopped before its first receipt only that what came is kept', () => {
    const { view, err } = sender();
    view.show({ event: 'failed', code: 'interrupted', message: 'Interrupted.' });
    view.show({ ...(summary(0) as TransferEvent & { event: 'summary' }), offered: 40 });
    expect(err.lines).to.deep.equal(['Stopped. What came is kept; the same command goes on.']);
  });

  it('says that the connection is lost, for how long it is tried again, and that it is back', () => {
    const { view, err } = sender();
    view.show({ event: 'connection', state: 'lost', message: 'The receiver closed it.', retry_for: 300 });
    view.show({ event: 'connection', state: 'lost', message: 'The connection was lost.', retry_for: 300 });
    view.show({
      event: 'connection',
      state: 'lost',
      message: 'The connection was lost: read ECONNRESET.',
      retry_for: 3,
    });
    view.show({ event: 'connection', state: 'back' });
    expect(err.lines).to.deep.equal([
      'Connection lost, trying again for 5 min. The receiver closed it.',
      'Connection lost, trying again for 5 min.',
      'Connection lost, trying again for 3.0 s. Read ECONNRESET.',
      'The connection is there again; going on.',
    ]);
  });

  it('gives the owner of a receiver no advice for a sender', () => {
    const { terminal, err } = openTerminal();
    const view = new ReceiverView(terminal, { command: 'send FILE', insecurePlain: false });
    view.show({
      event: 'failed',
      code: 'connection-lost',
      message: 'The sender is gone.',
      hint: 'Start the same command again.',
    });
    expect(err.text)
      .to.include('The sender is gone.')
      .and.include('when it is started again')
      .and.not.include('Start the same command again.');
  });

  it('never says verified of what was not confirmed', () => {
    const { view, out } = sender();
    view.show({ event: 'sent', ...file('a', { verified: null }) });
    view.show(summary(1, null));
    expect(out.text)
      .to.include('sent, not confirmed')
      .and.not.match(/verified|done/);
  });

  it('says what was skipped, and why', () => {
    const { view, out, err } = sender();
    view.show({ event: 'skipped', file_name: 'pipe', reason: 'not a regular file' });
    view.show({ event: 'sent', ...file('a') });
    view.show(summary(1));
    expect(err.lines).to.deep.equal(['pipe  skipped: not a regular file']);
    expect(out.lines[1]).to.include('1 file ').and.include('1 skipped');
  });

  it('puts the lines to paste on stderr, the one with the ticket first', () => {
    const { view, out, err } = sender();
    const ticket = `sendall://127.0.0.1:8898/${'0'.repeat(64)}`;
    view.show({
      event: 'listening',
      address: 'tcp://127.0.0.1:8898',
      port: 8898,
      ticket,
      addresses: ['tcp://127.0.0.1:8898'],
    });
    expect(err.lines).to.deep.equal([
      'Listening on tcp://127.0.0.1:8898. On this machine:',
      `    sendall receive --from ${ticket}`,
      'Without encryption, on this machine, by the same user or root:',
      '    sendall receive --from tcp://127.0.0.1:8898',
    ]);
    expect(out.text).to.equal('');
  });

  it('lets a receiver tell of each file at once on stdout, and sum up each transfer of several on stderr', () => {
    const { terminal, out, err } = openTerminal();
    const view = new ReceiverView(terminal, { command: 'send FILE', insecurePlain: false });
    view.show({ event: 'received', ...file('a') });
    expect(out.lines).to.have.length(1);
    view.show(summary(1));
    expect(err.text).to.equal('');
    view.show({ event: 'received', ...file('b', { path: 'b (2)' }) });
    view.show({ event: 'received', ...file('c') });
    view.show(summary(2));
    expect(out.lines).to.have.length(3);
    expect(out.lines[1]).to.match(/stored as b \(2\)$/);
    expect(err.lines).to.have.length(1);
    expect(err.lines[0]).to.match(/^2 files .* {2}held back by: the sender or the network$/);
  });

  it('says what helps to whoever has the options in his own hands, and not that somebody else decides', () => {
    const hinted = (make: (terminal: Terminal) => View, code: ErrorCode): string => {
      const { terminal, err } = openTerminal();
      const { message, hint } = new TransferError(code, 'No.');
      make(terminal).show({ event: 'failed', file_name: 'a', code, message, ...(hint === undefined ? {} : { hint }) });
      return err.lines[1] ?? '';
    };
    const invitation = { command: 'send FILE', insecurePlain: false } as const;
    for (const code of ['exists', 'quota', 'size', 'space', 'disk'] as const) {
      expect(hinted((terminal) => new SenderView(terminal, invitation), code)).to.match(/receiver/);
      expect(hinted((terminal) => new ReceiverView(terminal, invitation), code)).to.match(
        /[Tt]his (receiver|disk|machine)/,
      );
      expect(hinted((terminal) => new RestoreView(terminal), code)).to.match(/Restore into|this (disk|machine)/);
    }
  });
});
