import { library } from './library';

/** The options that say where, as commander names them; several commands have some of them. */
interface AddressFlags {
  readonly listen?: string | undefined;
  readonly address?: readonly string[] | undefined;
  /** True where the usual address is meant. */
  readonly web?: string | true | undefined;
  readonly metrics?: string | undefined;
}

/** Reads them all before anything is done. Throws `usage` for what is no address, or no port. */
export function checkAddresses({ listen, address = [], web, metrics }: AddressFlags): void {
  const { parseAnnounced, parseListenAddress, parseWebAddress } = library();
  if (listen !== undefined) parseListenAddress(listen);
  for (const each of address) parseAnnounced(each);
  if (typeof web === 'string') parseWebAddress(web);
  if (metrics === undefined) return;
  const { parseMetricsAddress } = require('./metrics-server') as typeof import('./metrics-server');
  parseMetricsAddress(metrics);
}
