import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { SendallProcess } from './sendall-process';

describe('cli: a command that nothing keeps alive any more before it has ended (the built command)', () => {
  it('is no success (fault experiment failing-calls)', async () => {
    const place = mkdtempSync(join(tmpdir(), 'sendall-early-'));
    try {
      const endless = join(place, 'endless.js');
      writeFileSync(endless, "require('node:fs/promises').stat = () => new Promise(() => undefined);");
      const { child, ended } = new SendallProcess(['send', 'x', 'unix:x'], {
        cwd: place,
        env: { NODE_OPTIONS: `--require ${endless}` },
      });
      child.stdin?.end();
      const { code, stderr } = await ended;
      expect({ code, stderr }).to.deep.equal({
        code: 1,
        stderr: 'sendall: It ended before it was done. This should not happen.\n',
      });
    } finally {
      rmSync(place, { recursive: true });
    }
  });
});
