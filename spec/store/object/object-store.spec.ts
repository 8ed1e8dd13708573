import { sessionConformance } from '../session-conformance';
import { objectProperties, openObjects } from './object-place';
import { type ObjectServer, startTiny } from './servers';

describe('ObjectStore', () => {
  let server: ObjectServer;
  before(async () => (server = await startTiny()));
  after(() => server.stop());
  describe('keeps the promises of sessions:', () => {
    sessionConformance(() => openObjects(server.options()), objectProperties);
  });
});
