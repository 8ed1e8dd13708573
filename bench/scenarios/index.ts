import { backup, backupAgain, backupInsert } from './backup';
import { backupRestore, backupVerify } from './backup-kept';
import { compression } from './compression';
import { crowd } from './crowd';
import { memory, sessionMemory } from './memory';
import { page } from './page';
import { file, tiny, tree } from './plain';
import { several } from './several';
import { session, sessionTree } from './session';
import type { Scenario } from './settings';
import { store } from './store';
import { sessionAgain, sessionInplace } from './update';
import { wan100, wan50 } from './wan';

/** By the names that the command line takes, in the order in which `all` runs them. */
export const scenarios: Readonly<Record<string, Scenario>> = {
  file,
  tiny,
  tree,
  memory,
  crowd,
  session,
  'session-tree': sessionTree,
  'session-again': sessionAgain,
  'session-inplace': sessionInplace,
  'session-memory': sessionMemory,
  several,
  page,
  backup,
  'backup-again': backupAgain,
  'backup-insert': backupInsert,
  'backup-verify': backupVerify,
  'backup-restore': backupRestore,
  compression,
  store,
  wan50,
  wan100,
};
