import { asTransferError, TransferError } from '../errors';
import type { FileDone, Listener, Summary } from '../progress';
import { type Address, parseListenAddress, parseRelay } from '../net/address';
import type { Dialed } from '../net/socket';
import { dialable, listeningAt } from '../net/own-address';
import { formatTicket, isTicket, parseTicket, type Ticket } from '../net/ticket';
import type { OpenCode } from '../codes/open-code';
import { drawCode, formatCode, looksLikeCode, parseCodeTarget } from '../codes/code';
import { refuseAbsentSources } from './absent-sources';
import { checkUsage, type SendOptions } from './send-options';
import { DialingConnector } from './connector';
import { SessionTransfer } from './transfer';
import { failureEvent, failureOf, type Sender } from '../session/summary';

/** Ways to a receiver that most transfers do not take: loaded once one does. */
const loadWay = {
  plain: () => require('./plain-sender') as typeof import('./plain-sender'),
  listening: () => require('./listening-connector') as typeof import('./listening-connector'),
  openCode: () => require('../codes/open-code') as typeof import('../codes/open-code'),
  reach: () => require('../codes/reach') as typeof import('../codes/reach'),
};

export interface SendResult {
  readonly files: readonly FileDone[];
  readonly summary: Summary;
}

/**
 * Sends files: in a session where the target is a ticket, over the plain wire where it is an address. Resolves only if
 * the receiver confirmed every one; otherwise rejects with the TransferError of the only failure, or `some-failed`.
 * Each failure was reported as an event before, and the summary comes last in any case.
 */
export async function send(options: SendOptions): Promise<SendResult> {
  checkUsage(options);
  if (options.text === undefined) await refuseAbsentSources(options.paths, options.on);
  const { target, listen, digest = 'blake3', deadlines, retryFor } = options;
  if (listen !== undefined) return sendToWhoeverDials(options);
  if (target !== undefined && looksLikeCode(target)) return sendByCode(target, options);
  const began = performance.now();
  if (target !== undefined && isTicket(target)) {
    return conclude(
      new SessionTransfer(
        options,
        new DialingConnector(parseTicket(target), {
          algorithm: digest,
          deadlines,
          retryFor,
          congestion: options.congestion,
          required: { check: options.check, metadata: options.metadata },
        }),
      ),
      options,
      began,
    );
  }
  const { PlainSender } = loadWay.plain();
  return conclude(new PlainSender(options), options, began);
}

/** The same with the ticket that the code leads to. */
function sendByCode(target: string, options: SendOptions): Promise<SendResult> {
  return withTicketOf(target, options, (ticket) => send({ ...options, target: formatTicket(ticket) }));
}

/** Does `work` with the ticket that a code leads to, which is of use until all is sent. */
export async function withTicketOf<Result>(
  code: string,
  { signal, relayPassword }: Pick<SendOptions, 'signal' | 'relayPassword'>,
  work: (ticket: Ticket) => Promise<Result>,
): Promise<Result> {
  const { reachByCode } = loadWay.reach();
  const { ticket, forget } = await reachByCode({ ...parseCodeTarget(code), relayPassword }, 'sender', signal);
  try {
    const result = await work(ticket);
    await forget();
    return result;
  } catch (error) {
    if (error instanceof TransferError && error.code === 'not-authorized') await forget();
    throw error;
  }
}

/** Waits for the receiver to dial in: with the ticket, or, where that is allowed, without. */
async function sendToWhoeverDials(options: SendOptions): Promise<SendResult> {
  const {
    listen: where = '',
    digest: algorithm = 'blake3',
    insecurePlain = false,
    plain: ownPlain = false,
    deadlines,
    on = () => undefined,
    signal,
  } = options;
  let plain: (accepted: Dialed) => void = () => undefined;
  const dialedPlain = new Promise<Dialed>((resolve) => {
    plain = resolve;
  });
  const code = options.codeWords
    ? new (loadWay.openCode().OpenCode)('sender', drawCode(options.codeWords, options.relayAt === undefined ? 4 : 6))
    : undefined;
  const relay = options.relayAt === undefined ? undefined : parseRelay(options.relayAt);
  const { ListeningConnector } = loadWay.listening();
  const connector = await ListeningConnector.at(parseListenAddress(where), {
    code,
    relayAt: relay,
    relayPassword: options.relayPassword,
    relayFailed: (error) => on(failureEvent(error)),
    algorithm,
    plain,
    plainWire: insecurePlain ? 'any' : ownPlain ? 'own' : 'off',
    deadlines,
    required: { check: options.check, metadata: options.metadata },
  });
  let endAnnouncement = (): void => undefined;
  try {
    const reachable = await dialable(connector.address, options.announced);
    on({
      event: 'listening',
      ...listeningAt(connector.address, reachable, connector.key, connector.ticketRelay()),
      ...(code ? { code: formatCode(code.code) } : {}),
    });
    if (code) {
      code.addresses = reachable;
      endAnnouncement = await announce(connector.address, code, on);
    }
    const first = await Promise.race([
      dialedPlain,
      connector.firstReceiver(signal),
      ...(code ? [code.over] : []),
    ]).catch((error: unknown) => {
      const interrupted = asTransferError(error, 'unexpected', 'Waiting for the receiver failed');
      on(failureEvent(interrupted));
      throw interrupted;
    });
    // Nobody waits for bytes before somebody is there.
    const began = performance.now();
    if (first) {
      const { PlainSender } = loadWay.plain();
      return await conclude(new PlainSender(options), options, began, first);
    }
    return await conclude(new SessionTransfer(options, connector), options, began);
  } finally {
    endAnnouncement();
    await connector.close();
  }
}

/**
 * Lets a receiver in this network find the listener by its code, until what is returned is called. Where that is not
 * possible, that is told, and the receiver can still type the address.
 */
async function announce(listener: Address, { addresses, code }: OpenCode, on: Listener): Promise<() => void> {
  const { announceListener } = require('../net/lan') as typeof import('../net/lan');
  try {
    return await announceListener(listener, addresses, code.number);
  } catch (error) {
    on(failureEvent(asTransferError(error, 'cannot-connect', 'This machine cannot be found')));
    return () => undefined;
  }
}

/** Runs a sender, and tells of its end. Rejects as `send` does. */
export async function conclude(
  sender: Sender,
  options: Pick<SendOptions, 'on'>,
  began: number,
  accepted?: Dialed,
): Promise<SendResult> {
  try {
    await sender.run(accepted);
  } finally {
    await sender.close();
  }
  const { files, failures, tally, offered, congestion, route } = sender;
  const summary = {
    ...tally.summary((performance.now() - began) / 1000, sender.bottleneck),
    ...(offered === undefined || offered <= tally.files ? {} : { offered }),
    ...(congestion === undefined ? {} : { congestion }),
    ...(route === undefined ? {} : { route }),
  };
  options.on?.({ event: 'summary', ...summary });
  const failure = failureOf(tally.files, failures);
  if (failure) throw failure;
  return { files, summary };
}
