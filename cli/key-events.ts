import type { Rights } from '../lib/index';

/** What may be known of a key. */
export interface KeyWords {
  readonly name: string;
  readonly rights: Rights;
  readonly directory?: string | undefined;
  /** Bytes. */
  readonly quota?: number | undefined;
  /** ISO 8601. */
  readonly expires?: string | undefined;
  /** 32 hexadecimal digits. */
  readonly id: string;
}

/** The lines of `--json` of the commands that are no transfers: who may connect, and whom I know. */
export type KeyEvent =
  | ({ readonly event: 'authorized'; readonly ticket: string } & KeyWords)
  | ({ readonly event: 'authorization' } & KeyWords)
  | { readonly event: 'revoked'; readonly name: string }
  | {
      readonly event: 'peer';
      readonly name: string;
      readonly address: string;
      readonly id: string;
      readonly groups?: readonly string[];
    }
  | { readonly event: 'group'; readonly name: string; readonly peers: readonly string[] }
  | { readonly event: 'removed'; readonly name: string };
