import type { Address } from './address';
import { hostname, networkInterfaces, type NetworkInterfaceInfo } from 'node:os';

/** Interfaces that lead to guests on this machine, not to other machines. */
const inward = /^(?:docker|br-|veth|virbr|cni|flannel|vmnet|vboxnet|lxc|lxd)/;

/**
 * The host by which another machine most likely finds this one: its first address that is not its own alone, IPv4
 * before IPv6, those of
 * networks for guests last; the host name where there is none. IPv6 comes without brackets, as in `Address`.
 */
export function ownHost(interfaces: NodeJS.Dict<NetworkInterfaceInfo[]> = networkInterfaces()): string {
  const found = Object.entries(interfaces)
    .flatMap(([name, addresses]) => (addresses ?? []).map((each) => ({ ...each, inward: inward.test(name) })))
    .filter(({ internal, address }) => !internal && !/^(?:fe80:|169\.254\.)/i.test(address));
  const rank = (each: (typeof found)[number]): number => (each.inward ? 2 : 0) + (each.family === 'IPv4' ? 0 : 1);
  return found.sort((a, b) => rank(a) - rank(b))[0]?.address ?? hostname();
}

/** Where others dial what listens at `address`: a wildcard is nobody's address. */
export function dialable(address: Address): Address {
  const anywhere = address.kind === 'tcp' && (address.host === '::' || address.host === '0.0.0.0');
  return anywhere ? { ...address, host: ownHost() } : address;
}
