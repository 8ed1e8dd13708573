/** The last is light on dark, whatever the terminal's own colours are. */
type Style = 'green' | 'yellow' | 'red' | 'dim' | 'bold' | readonly ['whiteBright', 'bgBlack'];

/** A piece of a line; whatever it holds is escaped before it is coloured. */
export type Piece = string | { readonly style: Style; readonly text: string };
