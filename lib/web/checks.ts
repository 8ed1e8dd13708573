// What a request must have before anything is done for it: pure, so that a table in a spec says all of it.
import { createHash, timingSafeEqual } from 'node:crypto';

/** What of a request's head decides. */
export interface RequestHead {
  readonly method: string;
  readonly host: string | undefined;
  readonly origin: string | undefined;
  /** Sec-Fetch-Site. */
  readonly site: string | undefined;
  readonly authorization: string | undefined;
}

/** By what a page is reached: `HOST` or `HOST:PORT` as the Host header has it, and the origins of its scripts. */
export interface PageOrigins {
  readonly hosts: ReadonlySet<string>;
  readonly origins: ReadonlySet<string>;
}

/** Why nothing is done: a status of RFC 9110, and a sentence. */
export interface HttpRefusal {
  readonly status: number;
  readonly message: string;
}

/**
 * Whoever asks by another name than ours was led here: a page of somebody else whose name was made to point at this
 * machine (DNS rebinding). So 421 for each foreign Host, and 403 for requests that scripts of foreign pages make.
 */
export function refuseForeign(
  { host, origin, site }: RequestHead,
  { hosts, origins }: PageOrigins,
): HttpRefusal | undefined {
  if (host === undefined || !hosts.has(host.toLowerCase()))
    return { status: 421, message: 'This page is not served under that name.' };
  if (origin !== undefined && !origins.has(origin.toLowerCase()))
    return { status: 403, message: 'Another page has asked for this.' };
  if (origin === undefined && (site === 'cross-site' || site === 'same-site'))
    return { status: 403, message: 'Another page has asked for this.' };
  return undefined;
}

/** Whether a request shows the token; takes as long for a wrong one as for the right one. */
export function showsToken(authorization: string | undefined, token: string): boolean {
  const shown = /^Bearer (\S{1,200})$/i.exec(authorization ?? '')?.[1] ?? '';
  return timingSafeEqual(hashed(shown), hashed(token));
}

function hashed(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

/** What a page at `url` is reached by. The default port of its scheme stands in no Host header. */
export function reachedAt(urls: readonly URL[]): PageOrigins {
  return {
    hosts: new Set(urls.map(({ host }) => host.toLowerCase())),
    origins: new Set(urls.map(({ origin }) => origin.toLowerCase())),
  };
}
