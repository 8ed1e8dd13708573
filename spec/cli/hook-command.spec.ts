import { expect } from 'chai';
import { InvalidArgumentError } from 'commander';
import { parseHookCommand } from '../../cli/hook-command';

describe('cli/hook-command', () => {
  const read: [text: string, words: string[]][] = [
    ['index', ['index']],
    ['  /usr/local/bin/index\t--json  x ', ['/usr/local/bin/index', '--json', 'x']],
    ['"my programs/index" \'a b\'', ['my programs/index', 'a b']],
    ['say "it\'s" \'"so"\'', ['say', "it's", '"so"']],
    ['say --text="a b"c', ['say', '--text=a bc']],
    ['say "" \'\' x', ['say', '', '', 'x']],
    [
      'echo $HOME `id` $(id) *.txt ~ a\\ b | cat > x; y && z # no',
      ['echo', '$HOME', '`id`', '$(id)', '*.txt', '~', 'a\\', 'b', '|', 'cat', '>', 'x;', 'y', '&&', 'z', '#', 'no'],
    ],
    [' ["a b", "", "\\"c\\"", "[d]"]', ['a b', '', '"c"', '[d]']],
  ];
  for (const [text, [program, ...words]] of read) {
    it(`reads ${text} as ${String(words.length + 1)} words, and nothing in it is special`, () => {
      expect(parseHookCommand(text)).to.deep.equal({ program, words });
    });
  }

  for (const text of [
    '',
    '   ',
    '""',
    '"open',
    "it's",
    '[',
    '[]',
    '["a", 1]',
    '["a"] b',
    '[""]',
    '[a]',
    '["a\\u0000b"]',
  ]) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      expect(() => parseHookCommand(text)).to.throw(InvalidArgumentError);
    });
  }
});
