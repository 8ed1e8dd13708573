/**
 * Patterns of what is left out of a tree, in the manner of gitignore(5): `*` and `?` stay within a component, `**` crosses
 * them, `[abc]` is one of them; a pattern with a slash before its end counts from the top of the tree, one without
 * matches at any depth, a trailing slash matches directories only.
 */
export function matcher(patterns: readonly string[]): (path: string, isDirectory: boolean) => boolean {
  const compiled = patterns.map((pattern) => {
    const trimmed = pattern.replace(/\/+$/, '');
    const body = translate(trimmed.replace(/^\//, ''));
    return {
      directoriesOnly: pattern !== trimmed,
      expression: new RegExp(`${trimmed.includes('/') ? '^' : '(?:^|/)'}${body}$`, 'su'),
    };
  });
  return (path, isDirectory) => compiled.some(({ directoriesOnly, expression }) => (isDirectory || !directoriesOnly) && expression.test(path));
}

function translate(pattern: string): string {
  return pattern.replace(/\*\*\/|\*\*|\*|\?|\[[^\]/]+\]|[\s\S]/gu, (piece) => {
    switch (piece) {
      case '**/':
        return '(?:[^/]+/)*';
      case '**':
        return '.*';
      case '*':
        return '[^/]*';
      case '?':
        return '[^/]';
      default:
        if (piece.length > 2 && piece.startsWith('[')) return piece.replace(/^\[!/, '[^').replace(/[\\[\]&~|]/g, (c, at: number) => (at === 0 || at === piece.length - 1 ? c : `\\${c}`));
        return piece.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
    }
  });
}
