import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { HookBacklog } from '../../cli/hook-backlog';

describe('cli/hook-backlog', () => {
  const usual = process.env['TMPDIR'];
  let directory = '';
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'sendall-backlog-'));
    process.env['TMPDIR'] = directory;
  });
  afterEach(() => {
    if (usual === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = usual;
    rmSync(directory, { recursive: true });
  });

  const takeAll = (backlog: HookBacklog): string[] => {
    const lines: string[] = [];
    for (let line = backlog.shift(); line !== undefined; line = backlog.shift()) lines.push(line);
    return lines;
  };
  const many = Array.from({ length: 5_000 }, (_, at) => `${String(at)} ${'é'.repeat(at % 300)}`);

  it('gives back what was put in, in order, also far more than it holds in memory', () => {
    const backlog = new HookBacklog();
    for (const line of many) backlog.push(line);
    expect(backlog.length).to.equal(many.length);
    expect(takeAll(backlog)).to.deep.equal(many);
    expect(backlog.length).to.equal(0);
    expect(backlog.shift()).to.equal(undefined);
  });

  it('keeps the order while some are taken and others come, and begins anew once it is empty', () => {
    const backlog = new HookBacklog();
    const taken: string[] = [];
    for (let round = 0; round < 2; round += 1) {
      for (const [at, line] of many.entries()) {
        backlog.push(line);
        if (at % 3 === 0) taken.push(backlog.shift() ?? '');
      }
      taken.push(...takeAll(backlog));
    }
    expect(taken).to.deep.equal([...many, ...many]);
  });

  it('leaves no name in the directory for temporary files', () => {
    const backlog = new HookBacklog();
    for (const line of many) backlog.push(line);
    expect(readdirSync(directory)).to.deep.equal([]);
    takeAll(backlog);
  });

  it('loses nothing where there is no directory for temporary files', () => {
    process.env['TMPDIR'] = join(directory, 'missing');
    const backlog = new HookBacklog();
    for (const line of many) backlog.push(line);
    expect(takeAll(backlog)).to.deep.equal(many);
  });
});
