/**
 * A command of --on-received that did not do what it should. The file or snapshot is stored, and the transfer none the
 * worse for it.
 */
export interface HookFailed {
  readonly event: 'hook-failed';
  /** What it was run for: one of the two, or neither where it is about all that waited. */
  readonly file_name?: string;
  readonly snapshot?: string;
  readonly message: string;
}

/** The failure as a sentence for people. */
export function hookWords({ file_name, snapshot, message }: HookFailed): string {
  const about = file_name ?? snapshot;
  return about === undefined ? message : `${about}: ${message}`;
}
