/** The line of `--json` for somebody who says on this network that they are there. */
export interface NearbyEvent {
  readonly event: 'nearby';
  readonly addresses: readonly string[];
  /** Of the code that is shown there. */
  readonly number?: string;
}
