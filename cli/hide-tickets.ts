/** A code, from the first of its words on. */
const codeWords = /(?<![\w-])(\d{4}|\d{6})(?:-[A-Za-z]{3,8}){2,4}(?![\w-])/g;

/**
 * Takes the tickets and codes of the command line out of the sight of everybody who can list processes. To be called
 * before anything else: until then they can be read.
 */
export function hideTickets(argv: readonly string[] = process.argv): void {
  const words = argv.map((word) => word.replace(/(sendall:\/\/).*/s, '$1…').replace(codeWords, '$1-…'));
  if (words.some((word, at) => word !== argv[at])) process.title = ['sendall', ...words.slice(2)].join(' ');
}

/**
 * `text` without tickets and codes, nor anything but a digest that could be the token of one, for whatever repeats
 * words of the command line.
 */
export function withoutTickets(text: string): string {
  return text
    .replace(codeWords, '$1-…')
    .replace(/(sendall:\/\/)[^\s'"]*/g, '$1…')
    .replace(/(?![0-9a-f]{64}\b)[\w-]{64,}/g, '…');
}
