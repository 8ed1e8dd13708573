import { statSync } from 'node:fs';
import { Argument, type Command, InvalidArgumentError } from 'commander';
import { type Candidate, completionOf } from '../candidates';
import type { Shell } from '../run';
import { wrongUsage } from '../usage';
import { library } from '../library';

const shells = ['bash', 'zsh', 'fish'] as const;
/** In place of a shell: completes the words that follow, for the scripts below. */
const forScripts = 'words';

/** Adds `sendall completion` to the program. */
export function describeCompletion(program: Command, _shell: Shell): void {
  program
    .command('completion')
    .description('Prints a script that lets a shell complete commands, options, peers and snapshots.')
    .usage('bash|zsh|fish')
    .addArgument(new Argument('<SHELL>', 'which shell it is for').choices(shells).argParser(parseShell))
    .allowExcessArguments() // the words, for the scripts
    .addHelpText(
      'after',
      `
Examples:
  $ sendall completion bash > ~/.local/share/bash-completion/completions/sendall
  $ sendall completion zsh > "\${fpath[1]}/_sendall"
  $ sendall completion fish > ~/.config/fish/completions/sendall.fish

Open a new shell then. Snapshots are completed of a directory on this machine, not from afar.`,
    )
    .action(async (shell: ReturnType<typeof parseShell>, _flags: object, { args: [, ...words] }: Command) => {
      if (shell !== forScripts && words.length > 0) throw wrongUsage('One shell at a time.');
      process.stdout.write(shell === forScripts ? await lines(program, words) : scripts[shell]);
    });
}

function parseShell(text: string): (typeof shells)[number] | typeof forScripts {
  const found = ([...shells, forScripts] as const).find((each) => each === text);
  if (!found) throw new InvalidArgumentError(`Allowed choices are ${shells.join(', ')}.`);
  return found;
}

/** A candidate on each line, a tab and what it is behind it; `:files` where files can stand there as well. */
async function lines(program: Command, words: readonly string[]): Promise<string> {
  const { candidates, files, look } = completionOf(program, words);
  const found = look ? await known[look](words) : [];
  const partial = words.at(-1) ?? '';
  const fitting = [...candidates, ...found].filter(({ word }) => word.startsWith(partial));
  return [...fitting.map(({ word, about }) => `${word}\t${about}\n`), files ? ':files\n' : ''].join('');
}

/** The machines known by name; none where their list cannot be read, which `sendall peers list` says. */
async function peers(): Promise<Candidate[]> {
  const { Peers } = library();
  const known = await new Peers().list().catch(() => []); // a shell that completes shows no errors
  return known.map(({ name }) => ({ word: name, about: 'peer' }));
}

/** The groups that they are in. */
async function groups(): Promise<Candidate[]> {
  const { Peers } = library();
  const known = await new Peers().groups().catch(() => []); // the same
  return known.map((word) => ({ word, about: 'group' }));
}

/** Those of the first directory among the words; none where it has none, which `sendall snapshots` says. */
async function snapshots(words: readonly string[]): Promise<Candidate[]> {
  const directory = words.slice(1).find((word) => statSync(word, { throwIfNoEntry: false })?.isDirectory());
  if (directory === undefined) return [];
  const { listSnapshots } = library().load.snapshots();
  const listed = await listSnapshots({ directory }).catch(() => []); // the same
  const names = listed.flatMap((each) => (each.event === 'snapshot' ? [each.snapshot] : []));
  const latest = [...new Set(names.map((name) => `${name.replace(/\/.*$/, '')}/latest`))];
  return [
    ...latest.map((word) => ({ word, about: 'the newest' })),
    ...names.map((word) => ({ word, about: 'snapshot' })),
  ];
}

const known = { peers, groups, snapshots } as const;

const scripts: Readonly<Record<(typeof shells)[number], string>> = {
  bash: `# sendall completion bash
_sendall() {
  local line word=\${COMP_WORDS[COMP_CWORD]}
  COMPREPLY=()
  while IFS= read -r line; do
    if [ "$line" = :files ]; then
      compopt -o filenames 2> /dev/null
      while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$word")
    else
      COMPREPLY+=("\${line%%$'\\t'*}")
    fi
  done < <(sendall completion words -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2> /dev/null)
}
complete -F _sendall sendall
`,
  zsh: `#compdef sendall
# sendall completion zsh
_sendall() {
  local line files
  local -a found
  while IFS= read -r line; do
    if [[ $line == :files ]]; then
      files=yes
    else
      found+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}")
    fi
  done < <(sendall completion words -- "\${(@)words[2,CURRENT]}" 2> /dev/null)
  (( \${#found} )) && _describe sendall found
  [[ -n $files ]] && _files
}
if [[ $funcstack[1] == _sendall ]]; then _sendall "$@"; else compdef _sendall sendall; fi
`,
  fish: `# sendall completion fish
function __sendall_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in (sendall completion words -- $words[2..-1] 2> /dev/null)
        if test "$line" = :files
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c sendall -f -a '(__sendall_complete)'
`,
};
