// The page of `sendall send FILE --web`: one download for each file, with the digest to compare it with.
import type { Api, SendSession, SentFile } from './api';
import { byId, icon, make, nameElement, say } from './elements';
import { downloadButton } from './listing';
import type { Reach } from './reach';
import { filesWords, sizeWords } from './words';

/** Milliseconds between two looks whether digests are there that were not. */
const look = 1000;

export async function showDownloads(api: Api, reach: Reach, session: SendSession): Promise<void> {
  const { files, once } = session;
  byId('send', HTMLElement).hidden = false;
  const bytes = files.reduce((sum, { size }) => sum + size, 0);
  say(byId('send-total', HTMLElement), `${filesWords(files.length)}, ${sizeWords(bytes)}`);
  say(
    byId('send-words', HTMLElement),
    once
      ? 'Each can be downloaded one time.'
      : 'They can be downloaded for as long as the command runs that offers them.',
  );
  const digests = new Map<string, HTMLElement>();
  const rows = files.map((file) => {
    const digest = make('code', 'digest');
    digests.set(file.id, digest);
    return sentRow(api, file, digest);
  });
  byId('send-list', HTMLElement).replaceChildren(...rows);
  for (let shown = files; ;) {
    for (const { id, sha256 } of shown) {
      const digest = digests.get(id);
      if (digest) say(digest, sha256 ?? 'being computed…');
    }
    if (shown.every(({ sha256 }) => sha256 !== null)) return;
    await new Promise((resolve) => {
      setTimeout(resolve, look);
    });
    await reach.back();
    if (reach.session?.mode === 'send') shown = reach.session.files;
  }
}

function sentRow(api: Api, file: SentFile, digest: HTMLElement): HTMLElement {
  const name = nameElement(file.name);
  const words = make('p', 'small danger-text');
  words.setAttribute('role', 'status');
  return make(
    'li',
    'sent',
    make('span', 'kind', icon('file')),
    make('div', 'what', name, make('span', 'said', `SHA-256 `, digest), words),
    make('span', 'figure', sizeWords(file.size)),
    downloadButton(api, { id: file.id }, name.title, words),
  );
}
