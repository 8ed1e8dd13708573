import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect } from 'chai';

const lib = join(__dirname, '..', '..', 'dist', 'lib');

describe('Lane', () => {
  it('that is closed keeps the process alive until its thread has ended, whatever answer comes late (fault experiment failing-calls)', () => {
    const program = `
      const { Lane } = require(${JSON.stringify(join(lib, 'threads/lane.js'))});
      const lane = new Lane(${JSON.stringify(join(lib, 'store/local/standing.worker'))}, undefined);
      lane.warm();
      const { worker } = lane;
      worker.once('online', () => {
        lane.close().then(() => process.stdout.write('closed'));
        worker.emit('message', []);
      });
      worker.ref();`;
    expect(spawnSync(process.execPath, ['-e', program], { encoding: 'utf8' }).stdout).to.equal('closed');
  });
});
