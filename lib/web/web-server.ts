import { lookup } from 'node:dns/promises';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { randomBytes } from 'node:crypto';
import { type AddressInfo, isIP, type Socket } from 'node:net';
import { asTransferError, TransferError } from '../errors';
import { type Address, formatAddress, isLoopback, parseWebAddress } from '../net/address';
import { dialable } from '../net/own-address';
import { cannotListen } from '../net/socket';
import type { Listener } from '../progress';
import { type UnidentifiedConnection, UnidentifiedConnections } from '../receive/unidentified-connections';
import { failureEvent } from '../session/summary';
import { ignored } from '../trace';
import { answer, answerFailure, answerJson, pagePolicy, refuse } from './answer';
import { type PageOrigins, reachedAt, refuseForeign, showsToken } from './checks';
import type { Downloads } from './downloads';
import { encodedFor, type PageFile, pageFiles } from './page-files';
import { selfSigned } from './self-signed';
import type { WebRequest } from './web-request';

/** Where a page is served, and for whom. */
export interface WebOptions {
  /** `HOST:PORT`, a port alone is one of loopback; default `127.0.0.1:8899`. Port 0 takes a free one. */
  readonly address?: string | undefined;
  /** Whether others on the way may read and change all of it: without TLS it is loopback alone. */
  readonly insecurePlain?: boolean | undefined;
  /** Files of PEM. Both or none. */
  readonly certificate?: string | undefined;
  readonly key?: string | undefined;
  /** Instead of them a certificate that is made for this page, and that nobody vouches for. */
  readonly selfSigned?: boolean | undefined;
  /** By what others reach the page, where something stands between: `https://files.example.org/drop/`. */
  readonly publicUrl?: string | undefined;
  /** At least 22 of `A-Z a-z 0-9 _ -`; default: drawn anew. */
  readonly token?: string | undefined;
  /** @internal How long a visitor may take for the head of a request, in ms, and how often that is looked at. */
  readonly headersWithin?: number | undefined;
  /** @internal For how long nothing may move on a connection, in ms. */
  readonly stillFor?: number | undefined;
  readonly on?: Listener | undefined;
}

/** What a page can ask for. Rejects with what is answered as a failure. */
export interface WebRoutes {
  /** Everything below `api`, once the token was shown. */
  api(request: WebRequest): Promise<void>;
  /** Of everything below `dl`: the link is what lets one in. */
  readonly downloads: Downloads;
  close(): Promise<void>;
}

/** A page that is served. */
export interface ServedPage {
  /** For browsers, with the token. */
  readonly url: string;
  /** The same where it listens, whatever stands before it. */
  readonly localUrl: string;
  /** SHA-256 of a certificate that nobody vouches for, lower-case hex, to be compared by who opens the page. */
  readonly certificateSha256: string | undefined;
  close(): Promise<void>;
}

/** Like whoever dials a receiver and says nothing, in ms. */
const headersWithin = 10_000;
const keptAliveFor = 15_000;
/** How often wrong tokens are told of at most, in ms. */
const wrongTokensEvery = 60_000;
/** A connection on which nothing moves, in ms. */
const stillFor = 120_000;
const longestHead = 16 * 1024;
const longestPath = 8 * 1024;
/** Connections without a request that keep their whole window, and the most that there are. */
const calmUnidentified = 128;
const mostUnidentified = 512;
/** Most connections at a time. */
const mostWebConnections = 1024;
/** Requests of one connection whose answers are not out yet. A browser sends one after another. */
const mostAhead = 16;

/** Whether nobody else can be on the way there. */
function isPrivate({ certificate, selfSigned: own = false }: WebOptions, address: Address): boolean {
  return certificate !== undefined || own || address.kind !== 'tcp' || isOwn(address.host);
}

/**
 * Serves a page. Its routes are told whether it is insecure. Rejects with `usage` for what cannot be meant, and
 * `cannot-connect` where the address cannot be had.
 */
export async function servePage(options: WebOptions, routes: (insecure: boolean) => WebRoutes): Promise<ServedPage> {
  const address = parseWebAddress(options.address);
  await checkHost(address);
  const insecure = !isPrivate(options, address);
  if (insecure && options.insecurePlain !== true)
    throw new TransferError('usage', 'Others on the network could read and change what is uploaded.', {
      hint: 'Give --tls-cert and --tls-key or --tls-self-signed, or --insecure-plain where that does not matter.',
    });
  const reachable = await dialable(address);
  const identity = await identityOf(options, reachable);
  const server = new WebServer(options, identity, routes(insecure));
  return {
    ...(await server.listen(address, reachable)),
    certificateSha256: identity?.sha256,
    close: () => server.close(),
  };
}

/**
 * The name of a host is looked up first: a word that is none is not a network that others read. Rejects with `usage`.
 */
async function checkHost({ host }: Address & { readonly kind: 'tcp' }): Promise<void> {
  if (isIP(host.replace(/%.*$/, '')) > 0) return;
  await lookup(host).catch((cause: unknown) => {
    throw new TransferError('usage', `"${host}" is no host that is known.`, {
      cause,
      hint: 'Name an address of this machine, --web HOST:PORT, or a port of 127.0.0.1, --web PORT.',
    });
  });
}

/** What the page shows to a browser by TLS; undefined without. Rejects with `usage` where a file cannot be read. */
async function identityOf(
  { certificate, key = '', selfSigned: own = false, publicUrl: url }: WebOptions,
  reachable: readonly Address[],
): Promise<Identity | undefined> {
  if (certificate !== undefined) return { certificate: pem(certificate), key: pem(key) };
  if (!own) return undefined;
  const hosts = reachable.flatMap((each) => (each.kind === 'tcp' ? [each.host] : []));
  const named = url === undefined ? [] : [publicUrl(url).hostname.replace(/^\[|\]$/g, '')];
  return selfSigned([...named, ...hosts, ...ownHostNames]);
}

/** A certificate and its key, in PEM. */
interface Identity {
  readonly certificate: string | Buffer;
  readonly key: string | Buffer;
  /** Of one that nobody vouches for. */
  readonly sha256?: string;
}

/**
 * HTTP for one page: who is let in, which files are served as they are, and which deadlines hold. What the page asks
 * for is done by its routes.
 */
class WebServer {
  private readonly token: string;
  /** The public one. */
  private readonly own: URL | undefined;
  private readonly files: ReadonlyMap<string, PageFile>;
  private readonly server: Server;
  private readonly unidentified = new UnidentifiedConnections(Infinity, calmUnidentified, mostUnidentified);
  /** Those who have not shown the token, or a link, by `endOf` their connections. */
  private readonly unknown = new Map<string, UnidentifiedConnection>();
  /** How many requests of a connection are not answered yet. */
  private readonly ahead = new WeakMap<Socket, number>();
  /** Those not told of yet, and when that was told last, by performance.now(). */
  private wrongTokens = { count: 0, toldAt: -Infinity };
  private reached: PageOrigins = { hosts: new Set(), origins: new Set() };

  constructor(
    private readonly options: WebOptions,
    private readonly identity: Identity | undefined,
    private readonly routes: WebRoutes,
  ) {
    this.token = checkedToken(options.token ?? randomBytes(24).toString('base64url'));
    this.own = options.publicUrl === undefined ? undefined : publicUrl(options.publicUrl);
    this.files = pageFiles();
    const settings = {
      maxHeaderSize: longestHead,
      headersTimeout: options.headersWithin ?? headersWithin,
      // Bodies have deadlines of their own.
      requestTimeout: 0,
      connectionsCheckingInterval: Math.min(1_000, options.headersWithin ?? 1_000),
      keepAliveTimeout: keptAliveFor,
    };
    const listener = (request: IncomingMessage, response: ServerResponse): void => void this.take(request, response);
    this.server =
      identity === undefined
        ? createServer(settings, listener)
        : createTlsServer(
            { ...settings, cert: identity.certificate, key: identity.key, handshakeTimeout: headersWithin },
            listener,
          );
    this.server.maxConnections = mostWebConnections;
    this.server.timeout = options.stillFor ?? stillFor;
    this.server.on('connection', (socket: Socket) => this.greet(socket));
    // Was greeted before its handshake: a second entry for the same connection would stay for ever.
    this.server.on('secureConnection', (socket: Socket) => socket.on('error', ignored('a visitor that is gone')));
    // What is no HTTP gets no answer but an end.
    this.server.on('clientError', (_error: Error, socket: Socket) => socket.destroy());
  }

  /** `reachable`: where others find what listens at `address`, whatever its port is. */
  async listen(
    address: Address & { readonly kind: 'tcp' },
    reachable: readonly Address[],
  ): Promise<Pick<ServedPage, 'url' | 'localUrl'>> {
    const { server } = this;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: address.host, port: address.port }, resolve);
    }).catch((cause: unknown) => {
      throw cannotListen(address, cause, '--web');
    });
    server.removeAllListeners('error').on('error', ignored('an accept that failed: the next one is served'));
    const { port } = server.address() as AddressInfo;
    const scheme = this.identity === undefined ? 'http' : 'https';
    const urls = [...reachable, ...(isOwn(address.host) || isAny(address.host) ? loopbacks(port) : [])].flatMap(
      (each) => (each.kind === 'tcp' ? [new URL(formatAddress({ ...each, port }).replace(/^tcp:/, `${scheme}:`))] : []),
    );
    const { own } = this;
    this.reached = reachedAt(own ? [...urls, own] : urls);
    const shown = (url: URL | undefined): string => `${url?.href.replace(/\/?$/, '/') ?? ''}#${this.token}`;
    return { url: shown(own ?? urls[0]), localUrl: shown(urls[0]) };
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve));
    await this.routes.close();
    this.server.closeAllConnections();
    await closed;
  }

  /** Deadlines and limits before the token was shown are those of unidentified connections on the wire. */
  private greet(socket: Socket): void {
    const unidentified = { close: () => void socket.destroy() };
    const end = endOf(socket);
    this.unknown.set(end, unidentified);
    this.unidentified.add(unidentified);
    socket.once('close', () => {
      this.unidentified.delete(unidentified);
      // Another connection may have the same end by now.
      if (this.unknown.get(end) === unidentified) this.unknown.delete(end);
    });
    socket.on('error', ignored('a visitor that is gone'));
  }

  private know(socket: Socket): void {
    const end = endOf(socket);
    const unidentified = this.unknown.get(end);
    if (!unidentified) return;
    this.unidentified.delete(unidentified);
    this.unknown.delete(end);
  }

  private async take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { socket } = request;
    if (socket.destroyed) return;
    const ahead = (this.ahead.get(socket) ?? 0) + 1;
    // A thousand requests in one packet would be answered in one go.
    if (ahead > mostAhead) return void socket.destroy();
    this.ahead.set(socket, ahead);
    response.once('close', () => this.ahead.set(socket, (this.ahead.get(socket) ?? 1) - 1));
    try {
      await this.serve(request, response);
    } catch (thrown) {
      const error = asTransferError(thrown, 'unexpected', 'The request failed');
      ignored('the visitor is told')(thrown);
      if (response.headersSent) response.destroy();
      else answerFailure(response, error);
    }
  }

  private async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', headers, url = '' } = request;
    const foreign = refuseForeign(
      {
        method,
        host: headers.host,
        origin: headers.origin,
        site: isNavigation(request) ? undefined : text(headers['sec-fetch-site']),
        authorization: headers.authorization,
      },
      this.reached,
    );
    if (foreign) return refuse(response, foreign);
    const asked = parsePath(url);
    if (!asked) return refuse(response, { status: 400, message: 'This is no path.' }, 'bad-header');
    const [first] = asked.path;
    if (first === 'api') {
      if (!showsToken(headers.authorization, this.token)) return this.refuseUnidentified(request, response);
      this.know(request.socket);
      return this.routes.api({ request, response, method, ...asked, path: asked.path.slice(1) });
    }
    if (first === 'dl') {
      const path = asked.path.slice(1);
      const linked = this.routes.downloads.find(path);
      this.know(request.socket);
      return this.routes.downloads.send(linked, { request, response, method, ...asked, path });
    }
    return this.file(request, response, `/${asked.path.join('/')}`);
  }

  private refuseUnidentified({ headers }: IncomingMessage, response: ServerResponse): void {
    const error = new TransferError('not-authorized', 'The page was opened without its token, or with a wrong one.', {
      hint: 'Open the whole address that the command has printed.',
    });
    if (headers.authorization !== undefined) this.noteWrongToken();
    refuse(response, { status: 401, message: error.message });
  }

  /** Told at most once a minute: whoever tries many fills no log. */
  private noteWrongToken(): void {
    const { wrongTokens: wrong } = this;
    wrong.count++;
    if (performance.now() - wrong.toldAt < wrongTokensEvery) return;
    const times = wrong.count === 1 ? '' : `, ${String(wrong.count)} times since that was last said`;
    this.wrongTokens = { count: 0, toldAt: performance.now() };
    this.options.on?.(
      failureEvent(new TransferError('not-authorized', `Somebody has shown a wrong token to the page${times}.`)),
    );
  }

  private file(request: IncomingMessage, response: ServerResponse, path: string): void {
    const { method } = request;
    const file = this.files.get(path === '/index.html' ? '/' : path);
    if (!file) return answerJson(response, 404, { code: 'usage', message: 'There is nothing here.' });
    if (method !== 'GET' && method !== 'HEAD') return answer(response, 405, { allow: 'GET, HEAD' });
    const { bytes, headers } = encodedFor(file, text(request.headers['accept-encoding']));
    answer(response, 200, { ...headers, 'content-type': file.type, 'content-security-policy': pagePolicy }, bytes);
  }
}

/** The other end of a connection: a TLS socket has the same as the one below it. */
function endOf({ remoteAddress = '', remotePort = 0 }: Socket): string {
  return `${remoteAddress} ${String(remotePort)}`;
}

/** A browser that opens the page itself, from wherever, and not a script or a picture of another page. */
function isNavigation({ method, headers }: IncomingMessage): boolean {
  return (
    method === 'GET' && text(headers['sec-fetch-mode']) === 'navigate' && text(headers['sec-fetch-dest']) === 'document'
  );
}

function text(header: string | readonly string[] | undefined): string | undefined {
  return typeof header === 'string' ? header : header?.[0];
}

/** The path of a request target, decoded component by component, and its query; undefined for what is none. */
function parsePath(target: string): { readonly path: string[]; readonly query: URLSearchParams } | undefined {
  if (!target.startsWith('/') || target.length > longestPath) return undefined;
  const [path = '', query = ''] = target.split(/\?(.*)/s);
  try {
    return { path: path.slice(1).split('/').map(decodeURIComponent), query: new URLSearchParams(query) };
  } catch {
    // A percent sign without two digits behind it.
    return undefined;
  }
}

const ownHostNames = ['127.0.0.1', 'localhost', '::1'];

function loopbacks(port: number): Address[] {
  return ownHostNames.map((host) => ({ kind: 'tcp', host, port }));
}

/** A host of this machine alone. */
function isOwn(host: string): boolean {
  return isLoopback(host) || host.toLowerCase() === 'localhost';
}

function isAny(host: string): boolean {
  return host === '::' || host === '0.0.0.0';
}

function publicUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url && /^https?:$/.test(url.protocol) && url.username === '' && url.search === '' && url.hash === '') return url;
  throw new TransferError('usage', `"${text}" is not the address of a page.`, {
    hint: 'It looks like https://files.example.org/drop/.',
  });
}

function checkedToken(token: string): string {
  if (/^[\w-]{22,128}$/.test(token)) return token;
  throw new TransferError('usage', 'The token of a page has at least 22 letters, digits, - and _.');
}

function pem(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw asTransferError(error, 'usage', `${path} cannot be read`);
  }
}
