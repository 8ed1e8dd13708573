import { sessionConformance } from '../session-conformance';
import { openObjects } from './object-place';
import { type ObjectServer, radosgwLacks, startRadosgw, startTiny } from './servers';

const mib = 1024 * 1024;
const properties = { says: 'store', resumesFrom: 16 * mib, links: false } as const;

describe('ObjectStore', () => {
  describe('on a tiny store keeps the promises of sessions:', () => {
    let server: ObjectServer;
    before(async () => (server = await startTiny()));
    after(() => server.stop());
    sessionConformance(() => openObjects(server.options()), properties);
  });

  const lacks = radosgwLacks();
  describe(`on Ceph's radosgw${lacks === undefined ? '' : ` (skipped: ${lacks})`}:`, function () {
    if (lacks !== undefined) {
      it.skip(lacks);
      return;
    }
    this.timeout(120_000);
    let server: ObjectServer;
    before(async () => (server = await startRadosgw()));
    after(() => server.stop());
    sessionConformance(() => openObjects(server.options()), properties);
  });
});
