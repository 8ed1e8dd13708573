import type { Command } from 'commander';
import type { EventView, Shell, Transfer } from '../run';
import { library } from '../library';

/** Reading tells of nothing on the way. */
const silence: EventView = { show: () => undefined };
/** How long answers are waited for, in ms. */
const patience = 1_000;

/** Adds `sendall nearby` to the program. */
export function describeNearby(program: Command, shell: Shell): void {
  program
    .command('nearby')
    .description('Lists who says on this network that they receive or send: started with --code or --announce.')
    .usage('[OPTIONS]')
    .addHelpText(
      'after',
      `
Examples:
  $ sendall nearby
  $ sendall receive inbox --announce      (on the other machine)

Nobody has proved anything here: whoever answers may be anybody, and only a code or a ticket
decides. Machines are found on the same network, over IPv4 and IPv6, if UDP port 5353 passes their
firewalls.`,
    )
    .action(async () => {
      const { runTransfer } = require('../run') as typeof import('../run');
      shell.exit(await runTransfer(shell.settings(), () => silence, list));
    });
}

async function list({ terminal, signal }: Transfer): Promise<void> {
  const { formatAddress, load } = library();
  const { printEvent } = require('../progress-json') as typeof import('../progress-json');
  let count = 0;
  for await (const { number, addresses } of load.lan().findOnLan(patience, signal)) {
    count++;
    const shown = addresses.map(formatAddress);
    if (terminal.settings.json)
      printEvent(terminal.stdout, { event: 'nearby', addresses: shown, ...(number === undefined ? {} : { number }) });
    else
      terminal.result(
        { style: 'bold', text: shown.join(', ') },
        number === undefined ? '  takes tickets' : `  shows the code ${number}-…`,
        { style: 'dim', text: '  (not verified)' },
      );
  }
  if (count === 0)
    terminal.say(
      'Nobody on this network says that they are there: sendall receive --announce and --code do, and UDP port 5353 has to be open.',
    );
}
