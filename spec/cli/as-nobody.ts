/** The number of a user, and of a group, that may do nothing. */
export const nobody = 65_534;

/** Words of a command line before the command that this user is to run; only root may. */
export const asNobody: readonly string[] = [
  'setpriv',
  `--reuid=${String(nobody)}`,
  `--regid=${String(nobody)}`,
  '--clear-groups',
];
