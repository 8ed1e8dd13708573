import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { canTrace } from '../store/local/trace';

(canTrace ? describe : describe.skip)('lib/access/private-file, as strace sees it', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sendall-durable-'));
  after(() => rmSync(directory, { recursive: true }));

  it('is on the disk before it gets its name, and the name is when the change is done', () => {
    const module = join(__dirname, '..', '..', 'lib', 'access', 'private-file');
    const script = `require(${JSON.stringify(module)}).changePrivateFile(process.argv[1], () => 'x').then(() => process.stdout.write('done'))`;
    const node = [process.execPath, '-r', './spec/typescript.js', '-e', script, join(directory, 'keys.json')];
    const trace = join(directory, 'trace');
    const kinds = 'trace=fsync,rename,renameat,renameat2,write';
    execFileSync('strace', ['-f', '-y', '-qq', '--seccomp-bpf', '-s', '200', '-o', trace, '-e', kinds, ...node]);
    const steps = readFileSync(trace, 'utf8')
      .split('\n')
      .filter((call) => !/^\d+ +<\.\.\./.test(call))
      .map(
        (call) =>
          /fsync\(\d+<[^>]*\.new>|rename.*\.new.*keys\.json"|fsync\(\d+<[^>]*sendall-durable-\w+>|write\(.*"done"/.exec(
            call,
          )?.[0],
      )
      .flatMap((call) =>
        call === undefined
          ? []
          : [call.startsWith('fsync') ? (call.includes('.new') ? 'fsync file' : 'fsync directory') : call.slice(0, 5)],
      );
    expect(steps).to.deep.equal(['fsync file', 'renam', 'fsync directory', 'write']);
  });
});
