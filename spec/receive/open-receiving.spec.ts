import { expect } from 'chai';
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { TransferError } from '../../lib/errors';
import { parseEntryName } from '../../lib/name';
import { Connection } from '../../lib/net/connection';
import { memoryPair } from '../../lib/net/memory-pair';
import { Destinations } from '../../lib/receive/destinations';
import { openReceiving } from '../../lib/receive/open-receiving';
import { Link } from '../../lib/session/link';
import { RepairStage } from '../../lib/snapshot/repair/repair-stage';
import { temporaryDirectory } from './receive-directory';

describe('a session that is opened', () => {
  // Found by the fault experiment fuzz: descriptors that only the collector of garbage closed.
  it('unlocks the backup that it was to repair where the receiver is being stopped', async () => {
    const place = await temporaryDirectory();
    const destinations = await Destinations.open(place, {});
    await mkdir(path.join(place, 'b'));
    const name = parseEntryName('b');
    const repair = (): Promise<RepairStage> =>
      RepairStage.open({
        name,
        repairs: true,
        checksum: false,
        algorithm: 'blake3',
        destination: destinations.own,
        peer: 'p',
        mayCompare: true,
        session: '0'.repeat(32),
      });
    const stage = await repair();
    const stopped = new TransferError('interrupted', 'The receiver was stopped.');
    const [, far] = memoryPair();
    const opening = openReceiving(
      { ifExists: 'refuse', on: () => undefined, destination: () => Promise.reject(stopped) },
      {
        hello: { type: 'hello', role: 'sender', version: 1, session: '0'.repeat(32), connection: 0 },
        authorization: undefined,
        peer: 'p',
      },
      new Link(new Connection(far, 'this process'), undefined, false),
      { stage },
    );
    expect(await opening.catch((error: unknown) => error)).to.equal(stopped);
    await (await repair()).leave();
    await destinations.close();
    await rm(place, { recursive: true });
  });
});
