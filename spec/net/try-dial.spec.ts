import { expect } from 'chai';
import { serve, tryDial } from '../../lib/index';

describe('tryDial', () => {
  it('connects', async () => {
    const serving = await serve('127.0.0.1:0', (peer) => peer.send(Buffer.from('x')));
    const { code, dialed } = await tryDial(serving.address);
    expect(code).to.equal('OK');
    expect(dialed).to.include({ peer: serving.address, local: true });
    dialed?.stream.destroy();
    await serving.close();
  });

  it('returns the name of the error number where it cannot', async () => {
    const serving = await serve('127.0.0.1:0', () => Promise.resolve());
    await serving.close();
    expect((await tryDial(serving.address)).code).to.equal('ECONNREFUSED');
    expect((await tryDial('unix:/nonexistent/socket')).code).to.equal('ENOENT');
  });

  it('rejects an address that is none', async () => {
    expect(await tryDial('tcp://:x').catch((error: unknown) => error)).to.include({ code: 'usage' });
  });
});
