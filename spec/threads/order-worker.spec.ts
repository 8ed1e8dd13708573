import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect } from 'chai';

const lib = join(__dirname, '..', '..', 'dist', 'lib');

describe('OrderWorker', () => {
  it('that is closed keeps the process alive until its thread has ended, whatever answer comes late (fault experiment failing-calls)', () => {
    const program = `
      const { OrderWorker } = require(${JSON.stringify(join(lib, 'threads/order-worker.js'))});
      const orders = new OrderWorker(${JSON.stringify(join(lib, 'store/local/basis.worker'))}, undefined);
      orders.warm();
      const { worker } = orders;
      worker.once('online', () => {
        orders.close().then(() => process.stdout.write('closed'));
        worker.emit('message', []);
      });
      worker.ref();`;
    expect(spawnSync(process.execPath, ['-e', program], { encoding: 'utf8' }).stdout).to.equal('closed');
  });
});
