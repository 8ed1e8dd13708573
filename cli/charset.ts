/** What a terminal or a locale can show: the words of the command have a few characters that are not ASCII. */

/** What stands for our own characters. */
const plain: Readonly<Record<string, string>> = { '…': '...', '·': '-', '’': "'" };

/**
 * Whether only ASCII can be shown: the locale says so (`C`, or a character set other than UTF-8), or the terminal, if
 * it is one, knows nothing. Where the environment names no locale, as in a container, UTF-8 is what terminals have.
 */
export function isAsciiOnly(env: NodeJS.ProcessEnv, isTerminal: boolean): boolean {
  const locale = [env['LC_ALL'], env['LC_CTYPE'], env['LANG']].find((name) => name);
  return (locale !== undefined && !/utf-?8/i.test(locale)) || (isTerminal && env['TERM'] === 'dumb');
}

/** Our own characters as ASCII; all others with `\u` and four hexadecimal digits for each UTF-16 code unit. */
export function asAscii(text: string): string {
  return wordsAsAscii(text).replace(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** Only our own characters: what goes into a file or to a program keeps the names that it has. */
export function wordsAsAscii(text: string): string {
  return text.replace(/[…·’]/g, (character) => plain[character] ?? character);
}
