import { LocalStore } from '../../../lib/store/local/local';
import { type OpenedPlace, sessionConformance } from '../session-conformance';
import { openLocal } from './local-place';

const mib = 1024 * 1024;

async function openPlace(): Promise<OpenedPlace> {
  const { directory, place, ...eyes } = await openLocal();
  const opened = {
    ...eyes,
    place,
    list: async () => (await eyes.list()).filter((name) => !name.startsWith('.sendall')),
    reopen: async () => {
      await opened.place.close();
      opened.place = await LocalStore.open(directory);
      return opened.place;
    },
    remove: async () => {
      await opened.place.close();
      await eyes.remove();
    },
  };
  return opened;
}

describe('LocalStore keeps the promises of sessions:', () => {
  sessionConformance(openPlace, { says: 'device', resumesFrom: 16 * mib, links: true });
});
