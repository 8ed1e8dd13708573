import { debuglog } from 'node:util';

/**
 * What was decided, retried and swallowed, for whoever looks for the reason of something: printed to standard error
 * where NODE_DEBUG contains `sendall`, else free of charge. Takes a format and values as util.format does.
 */
export const trace = debuglog('sendall');

/** For a promise whose failure changes nothing: `.catch(ignored('why that is so'))`. */
export function ignored(why: string): (error: unknown) => undefined {
  return (error) => {
    trace('ignored, since %s: %o', why, error);
    return undefined;
  };
}
