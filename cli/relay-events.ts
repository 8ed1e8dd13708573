/** The lines of `--json` of `sendall relay`. */
export type RelayEvent =
  | { readonly event: 'relaying'; readonly port: number }
  /** A pair has ended. */
  | { readonly event: 'relayed'; readonly bytes: number; readonly seconds: number; readonly over_quota: boolean };
