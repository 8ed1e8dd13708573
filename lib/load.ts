// The parts of the library that commands use.

/**
 * What the commands do, each loaded when it is wanted: all of the library takes longer to load than a small file to
 * send.
 */
export const load = {
  send: () => require('./send/sender') as typeof import('./send/sender'),
  several: () => require('./send/several') as typeof import('./send/several'),
  receiver: () => require('./snapshot/receiver') as typeof import('./snapshot/receiver'),
  webSend: () => require('./web/serve-downloads') as typeof import('./web/serve-downloads'),
  webReceive: () => require('./web/serve-uploads') as typeof import('./web/serve-uploads'),
  relay: () => require('./net/relay-server') as typeof import('./net/relay-server'),
  lan: () => require('./net/lan') as typeof import('./net/lan'),
  objectKeys: () => require('./access/object-keys') as typeof import('./access/object-keys'),
  userDirectory: () => require('./user-directory') as typeof import('./user-directory'),
  keys: () => require('./access/authorized') as typeof import('./access/authorized'),
  backup: () => require('./snapshot/backup/backup') as typeof import('./snapshot/backup/backup'),
  snapshots: () => require('./snapshot/remote/anywhere') as typeof import('./snapshot/remote/anywhere'),
  repair: () => require('./snapshot/repair/repair') as typeof import('./snapshot/repair/repair'),
  adopt: () => require('./snapshot/adopt/adopt') as typeof import('./snapshot/adopt/adopt'),
  unidentified: () =>
    require('./receive/unidentified-connections') as typeof import('./receive/unidentified-connections'),
  readBackTime: () => require('./store/local/read-back-time') as typeof import('./store/local/read-back-time'),
  copy: () => require('./snapshot/copy/copy') as typeof import('./snapshot/copy/copy'),
  export: () => require('./snapshot/object/export-objects') as typeof import('./snapshot/object/export-objects'),
  removal: () => require('./snapshot/prune/removal') as typeof import('./snapshot/prune/removal'),
  drill: () => require('./snapshot/remote/drill-anywhere') as typeof import('./snapshot/remote/drill-anywhere'),
} as const;
