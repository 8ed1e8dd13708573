// The page: takes the token, asks what is served here, and shows it.
import { Api, type ReceiveSession } from './api';
import { Arrivals, ArrivalView, follow } from './arrivals';
import { showDownloads } from './downloads';
import { chosen, type Named } from './dropped';
import { Drops } from './drops';
import { byId, say } from './elements';
import { ListingView } from './listing';
import { Reach } from './reach';
import { keepToken, takeToken, tokenIn } from './token';
import { UploadView } from './upload-view';
import { Uploads } from './uploads';
import { nameWords } from './words';

/** Milliseconds between two drawings. */
const tick = 100;
const addedAtOnce = 100;

async function main(): Promise<void> {
  const drops = new Drops();
  const api = new Api(takeToken() ?? '');
  const reach = new Reach(api);
  letUnlock(reach);
  setInterval(() => {
    drawReach(reach, api.token !== '');
  }, tick);
  if (api.token === '') await reach.locked();
  else await reach.back();
  drawReach(reach, true);
  const { session } = reach;
  if (!session) return;
  byId('plain', HTMLElement).hidden = !session.insecure;
  if (session.mode === 'receive') return receive(api, reach, session, drops);
  drops.refuse();
  await showDownloads(api, reach, session);
}

function receive(api: Api, reach: Reach, session: ReceiveSession, drops: Drops): void {
  say(byId('title', HTMLElement), nameWords(session.name));
  byId('receive', HTMLElement).hidden = false;
  const uploads = new Uploads(api, reach, session);
  const arrivals = new Arrivals(session);
  const uploadView = new UploadView(uploads);
  const arrivalView = new ArrivalView(arrivals);
  takeChosen(uploads);
  void drops.takenBy((files) => {
    uploads.add(files);
  });
  const listing = session.read ? new ListingView(api) : null;
  let underWay = 0;
  setInterval(() => {
    underWay = uploadView.draw().underWay;
    arrivalView.draw();
    void listing?.keepUp(arrivals.files);
  }, tick);
  addEventListener('beforeunload', (event) => {
    if (underWay > 0) event.preventDefault();
  });
  void follow(arrivals, api, reach, () => underWay > 0);
}

function takeChosen(uploads: Uploads): void {
  for (const [button, input] of [
    ['choose-files', 'files-input'],
    ['choose-folder', 'folder-input'],
  ] as const) {
    const field = byId(input, HTMLInputElement);
    byId(button, HTMLButtonElement).addEventListener('click', () => {
      field.click();
    });
    field.addEventListener('change', () => {
      if (field.files) void addInTurns(uploads, chosen(field.files));
      field.value = ''; // so that the same files can be chosen again
    });
  }
  // A phone has no folders to choose, and says so by not knowing the attribute, or by having no fine pointer.
  byId('choose-folder', HTMLElement).hidden = !('webkitdirectory' in byId('folder-input', HTMLInputElement));
}

/** Some at a time: of each the browser asks the disk for its size, and nothing else happens meanwhile. */
async function addInTurns(uploads: Uploads, files: readonly Named[]): Promise<void> {
  for (let first = 0; first < files.length; first += addedAtOnce) {
    uploads.add(files.slice(first, first + addedAtOnce));
    await new Promise((resolve) => {
      setTimeout(resolve);
    });
  }
}

function drawReach(reach: Reach, hadToken: boolean): void {
  const words = {
    connecting: 'Connecting…',
    connected: 'Connected',
    lost: 'Connection lost, trying again',
    locked: 'Not connected',
  }[reach.state];
  byId('connection', HTMLElement).dataset['state'] = reach.state;
  say(byId('connection-words', HTMLElement), words);
  const locked = byId('locked', HTMLElement);
  locked.hidden = reach.state !== 'locked';
  if (locked.hidden) return;
  say(
    byId('locked-title', HTMLElement),
    hadToken ? 'This address is not valid any more' : 'This page needs its whole address',
  );
  say(
    byId('locked-words', HTMLElement),
    hadToken
      ? 'The command prints a new one each time it starts. Open that, or paste it here: what was under way goes on where it was.'
      : 'Open it as it was printed, with everything that follows the #, or paste it here.',
  );
}

function letUnlock(reach: Reach): void {
  addEventListener('hashchange', () => {
    const token = takeToken();
    if (token !== null) reach.unlock(token);
  });
  byId('unlock', HTMLFormElement).addEventListener('submit', (event) => {
    event.preventDefault();
    const field = byId('address', HTMLInputElement);
    const token = tokenIn(field.value);
    say(byId('unlock-words', HTMLElement), token === null ? 'There is no secret in it: it is what follows the #.' : '');
    if (token === null) return;
    field.value = '';
    keepToken(token);
    reach.unlock(token);
  });
}

void main();
