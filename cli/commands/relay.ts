import { type Command, Option } from 'commander';
import { checkAddresses } from '../address-options';
import type { EventView, Shell, Transfer } from '../run';
import { formatSize, parseDuration, parseSize } from '../size';
import { relayPasswordIn } from '../relay-option';
import { wrongUsage } from '../usage';
import { library } from '../library';

/** The options of `sendall relay`, as commander names them. */
interface RelayFlags {
  readonly listen: string;
  readonly waitFor: number;
  readonly quota?: number;
  readonly passwordFile?: string;
  readonly metrics?: string;
}

/** What it tells is printed as it happens. */
const silence: EventView = { show: () => undefined };

/** Adds `sendall relay` to the program. */
export function describeRelay(program: Command, shell: Shell): void {
  program
    .command('relay')
    .description('Joins senders and receivers that cannot reach each other, until it is stopped. It reads nothing.')
    .usage('[OPTIONS]')
    .option('--listen <ADDRESS>', 'HOST:PORT or a port alone; port 0 takes a free one', '[::]:4001')
    .addOption(
      new Option('--wait-for <DURATION>', 'how long one may wait for the other side: 30s, 2h')
        .argParser(parseDuration)
        .default(3_600_000, '1h'),
    )
    .option('--quota <SIZE>', 'end a pair that has carried more than this, for example 10G', parseSize)
    .option('--password-file <FILE>', 'join only those who have the password in this file, of 16 characters or more')
    .option(
      '--metrics <ADDRESS>',
      'serve figures for Prometheus at http://HOST:PORT/metrics; a port alone is one of 127.0.0.1',
    )
    .addHelpText(
      'after',
      `
Examples:
  $ sendall relay --quota 50G                           (on a machine that both sides can reach)
  $ sendall receive inbox --relay relay.example.org     (its ticket names the relay)
  $ sendall relay --password-file relay.password --metrics 9100

With a password, --relay-password-file gives it to sendall receive and send. It never crosses the
network, and a ticket holds what its sender needs; a code does not.

It speaks the protocol of magic-wormhole's transit relay, whose servers do as well. What it carries
is encrypted with the key of the ticket: it sees addresses, sizes and times, and no names.`,
    )
    .action(async (flags: RelayFlags) => {
      checkAddresses(flags);
      const { runTransfer } = require('../run') as typeof import('../run');
      shell.exit(
        await runTransfer(
          shell.settings(),
          () => silence,
          (transfer) => serve(flags, transfer),
          'many',
        ),
      );
    });
}

async function serve(flags: RelayFlags, { terminal, signal }: Transfer): Promise<void> {
  const { listen, waitFor, quota, passwordFile } = flags;
  const { load, parseListenAddress } = library();
  const { printEvent } = require('../progress-json') as typeof import('../progress-json');
  const address = parseListenAddress(listen);
  if (address.kind === 'unix') throw wrongUsage('A relay listens at a TCP port.');
  const { json } = terminal.settings;
  const server = await load.relay().RelayServer.at(address, {
    waitFor,
    quota,
    password: passwordFile === undefined ? undefined : relayPasswordIn(passwordFile),
    on: ({ bytes, seconds, overQuota }) => {
      if (json) printEvent(terminal.stdout, { event: 'relayed', bytes, seconds, over_quota: overQuota });
      else
        terminal.say(
          `carried ${formatSize(bytes)} in ${seconds.toFixed(1)} s`,
          overQuota ? ', and ended that because of --quota' : '',
        );
    },
  });
  const { port } = server;
  const metrics =
    flags.metrics === undefined
      ? undefined
      : new (require('../relay-metrics') as typeof import('../relay-metrics')).RelayMetrics(() => server.figures);
  if (json) printEvent(terminal.stdout, { event: 'relaying', port });
  else terminal.say(`Relaying on port ${String(port)}. On the machine that receives:`);
  if (!json)
    terminal.say('    ', {
      style: 'bold',
      text: `sendall receive DIR --relay HOST${port === 4001 ? '' : `:${String(port)}`}`,
    });
  try {
    if (metrics && flags.metrics !== undefined) terminal.say(`Metrics at ${await metrics.listen(flags.metrics)}.`);
    if (!signal.aborted)
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  } finally {
    const { pairs, bytes, waiting } = server.figures;
    terminal.say(`Carried ${formatSize(bytes)} for ${String(pairs)} pairs; ${String(waiting)} waited.`);
    await metrics?.close();
    await server.close();
  }
}
