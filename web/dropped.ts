// Files with their paths, as they were dropped or chosen: folders are walked, a few hundred files at a time.

/** A file and the name it is to have at the receiver: with `/` between folders. */
export interface Named {
  readonly name: string;
  readonly file: File;
}

/** Must be called before the drop event is over: afterwards the browser gives nothing away. */
export function entriesOf(dropped: DataTransfer): readonly FileSystemEntry[] {
  const items = [...dropped.items].filter(({ kind }) => kind === 'file');
  return items.map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
}

/** Files of an input; one that chooses a folder names each with its path. */
export function chosen(files: FileList): readonly Named[] {
  return [...files].map((file) => ({ name: file.webkitRelativePath || file.name, file }));
}

/** All files below `entries`, as they are found. What cannot be read is named in `unread`. */
export async function* walk(entries: readonly FileSystemEntry[], unread: string[]): AsyncGenerator<readonly Named[]> {
  const files = entries.filter((entry): entry is FileSystemFileEntry => entry.isFile);
  const found = await Promise.all(files.map((entry) => named(entry, unread)));
  if (found.length > 0) yield found.filter((one) => one !== null);
  for (const entry of entries) if (entry.isDirectory) yield* folder(entry as FileSystemDirectoryEntry, unread);
}

async function* folder(entry: FileSystemDirectoryEntry, unread: string[]): AsyncGenerator<readonly Named[]> {
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise<readonly FileSystemEntry[]>((resolve) => {
      reader.readEntries(resolve, () => {
        unread.push(entry.fullPath.slice(1));
        resolve([]);
      });
    });
    if (some.length === 0) return; // an answer of none is the end: one answer has at most 100
    yield* walk(some, unread);
  }
}

async function named(entry: FileSystemFileEntry, unread: string[]): Promise<Named | null> {
  return new Promise((resolve) => {
    entry.file(
      (file) => {
        resolve({ name: entry.fullPath.slice(1), file });
      },
      () => {
        unread.push(entry.fullPath.slice(1));
        resolve(null);
      },
    );
  });
}
