import { Option } from 'commander';

/** What commands have that send contents over a network, as commander names it. */
export interface CompressFlags {
  readonly compress?: 'auto' | 'on' | 'off';
}

export function compressOption(): Option {
  return new Option(
    '--compress <WHEN>',
    'compress contents on their way: auto, where the network is what holds the transfer back (default), on or off',
  ).choices(['auto', 'on', 'off']);
}
