import { expect } from 'chai';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createReceiver, send } from '../../../lib/index';
import { startTiny } from './servers';

describe('what docs/scale.md counts', () => {
  let server: Awaited<ReturnType<typeof startTiny>>;
  let root: string;

  before(async () => {
    server = await startTiny();
    root = mkdtempSync(path.join(tmpdir(), 'sendall-scale-'));
  });
  after(async () => {
    await server.stop();
    rmSync(root, { recursive: true, force: true });
  });

  it('is what a receiver asks of its store for a start, for small files, and for the same again', async () => {
    const files = 200;
    const source = path.join(root, 'source');
    mkdirSync(source);
    for (let at = 0; at < files; at++) writeFileSync(path.join(source, String(at)), randomBytes(4096));
    let [written, read, deleted] = [0, 0, 0];
    server.tiny.seen = ({ method, key }) => {
      if (method === 'PUT') written++;
      if (method === 'GET' && key !== '') read++;
      if (method === 'DELETE') deleted++;
    };
    const receiver = await createReceiver({ directory: 's3://specs', objects: server.options() });
    const counted = async (work: () => Promise<unknown>): Promise<number[]> => {
      [written, read, deleted] = [0, 0, 0];
      await work();
      return [written, read, deleted];
    };
    try {
      expect([written, read, deleted]).to.deep.equal([7, 3, 2]);
      const { ticket } = await receiver.listen('127.0.0.1:0');
      const sent = await counted(() => send({ paths: [source], target: ticket }));
      // Beside the files: their directory, the pack, and nothing that is asked for each file.
      expect(sent[0]).to.be.within(files + 3, files + 5);
      expect(sent[1]).to.be.within(files + 2, files + 4);
      expect(sent[2]).to.equal(0);
      const again = await counted(() => send({ paths: [source], target: ticket }));
      expect(again[0]).to.be.at.most(1);
      expect(again[1]).to.be.within(files, files + 2);
    } finally {
      await receiver.close();
    }
  });
});
