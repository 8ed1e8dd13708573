type Style = 'green' | 'yellow' | 'red' | 'dim' | 'bold';

/** A piece of a line; whatever it holds is escaped before it is coloured. */
export type Piece = string | { readonly style: Style; readonly text: string };
