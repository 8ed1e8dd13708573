import { parseCodeTarget } from '../../lib/codes/code';
import { dialByCode } from '../../lib/codes/exchange';
import { Connection } from '../../lib/net/connection';
import { dial } from '../../lib/net/socket';

/** Tries the number of a code, `NUMBER-WORD-WORD@HOST:PORT` as a listener prints it, with other words. */
export async function guess(shown: string): Promise<void> {
  const { code, addresses } = parseCodeTarget(shown);
  const [address] = addresses;
  if (!address) throw new Error('There is no address.');
  const { stream, peer } = await dial(address);
  const words = code.words[0] === 'abandon' ? ['zoo', 'zoo'] : ['abandon', 'zoo'];
  await dialByCode(new Connection(stream, peer), { ...code, words }, 'sender').catch(() => undefined); // it is wrong
}
