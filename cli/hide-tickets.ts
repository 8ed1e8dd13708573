/**
 * Takes the tickets of the command line out of the sight of everybody who can list processes. To be called before
 * anything else: until
 * then they can be read.
 */
export function hideTickets(argv: readonly string[] = process.argv): void {
  const words = argv.map((word) => word.replace(/(sendall:\/\/).*/s, '$1…'));
  if (words.some((word, at) => word !== argv[at])) process.title = ['sendall', ...words.slice(2)].join(' ');
}

/**
 * `text` without tickets, nor anything but a digest that could be the token of one, for whatever repeats words of the
 * command line.
 */
export function withoutTickets(text: string): string {
  return text.replace(/(sendall:\/\/)[^\s'"]*/g, '$1…').replace(/(?![0-9a-f]{64}\b)[\w-]{64,}/g, '…');
}
