import type { LocalStore } from '../../lib/store/local/local';
import type { SessionStore } from '../../lib/store/session-store';
import type { IfExists } from '../../lib/store/store';
import type { NewFile, StagedFile } from '../../lib/store/staged-file';
import { WholeFiles } from '../../lib/store/whole-files';

/** A file that comes whole, and the rule by which it is to be stored. */
export interface AnnouncedFile extends NewFile {
  readonly ifExists: IfExists;
}

/** What the conformance suite asks of: a store that takes whole files by any rule. */
export interface AnyRule {
  readonly verified: SessionStore['verified'];
  stage(file: AnnouncedFile): Promise<StagedFile>;
  close(): Promise<void>;
}

/** Such a one, which opens a session's store for each rule that is asked for: a receiver has one rule. */
export function anyRule(store: Pick<LocalStore, 'verified' | 'session' | 'close'>): AnyRule {
  const opened = new Map<IfExists, Promise<WholeFiles>>();
  const openedFor = (ifExists: IfExists): Promise<WholeFiles> => {
    const known =
      opened.get(ifExists) ??
      store
        .session({ algorithm: 'md5', peer: 'plain', ifExists, inOrder: true })
        .then((session) => new WholeFiles(session, ifExists));
    opened.set(ifExists, known);
    return known;
  };
  return {
    verified: store.verified,
    stage: async (file) => (await openedFor(file.ifExists)).stage(file),
    close: async () => {
      for (const files of opened.values()) await (await files).close();
      await store.close();
    },
  };
}
