import { expect } from 'chai';
import { setTimeout as pause } from 'node:timers/promises';
import { Connection } from '../../lib/net/connection';
import { TransferError } from '../../lib/errors';
import { UnidentifiedConnections } from '../../lib/receive/unidentified-connections';
import { ByteStream } from '../../lib/net/byte-stream';

function comers(count: number): Connection[] {
  return Array.from({ length: count }, () => new Connection(new ByteStream(), 'somebody'));
}

/** Which of them were closed, by their numbers. */
function closed(connections: readonly Connection[]): number[] {
  return connections.flatMap(({ failure }, at) => (failure ? [at] : []));
}

describe('Connections that say nothing (by the experiment idle)', () => {
  it('lets a crowd be that comes at the same moment, and has the oldest make room once they were silent for a while', async () => {
    const connections = new UnidentifiedConnections(1000, 2, 500);
    const crowd = comers(5);
    for (const connection of crowd) connections.add(connection);
    expect(closed(crowd)).to.deep.equal([]);
    await pause(1100);
    const late = comers(1);
    for (const connection of late) connections.add(connection);
    expect(closed(crowd)).to.deep.equal([0, 1, 2, 3]);
    expect(closed(late)).to.deep.equal([]);
  });

  it('never takes more than half of the descriptors, however fast they come', () => {
    const connections = new UnidentifiedConnections(20);
    const crowd = comers(14);
    for (const connection of crowd) connections.add(connection);
    expect(closed(crowd)).to.deep.equal([0, 1, 2, 3]);
  });

  it('forgets who has said what it wants', () => {
    const connections = new UnidentifiedConnections(4);
    const crowd = comers(8);
    for (const connection of crowd) {
      connections.add(connection);
      connections.delete(connection);
    }
    expect(closed(crowd)).to.deep.equal([]);
    connections.closeAll(new TransferError('interrupted', 'It is over.'));
    expect(closed(crowd)).to.deep.equal([]);
  });
});
