// The secret of the address: what follows its `#`, never sent in a request line, and out of sight once it was read.
// It stays in the history entry, which no other page of this origin reads: reloading the page keeps it.

const form = /^[A-Za-z0-9_-]{16,256}$/;

/** The token of an address, of its fragment, or of what was pasted; null where there is none. */
export function tokenIn(text: string): string | null {
  const token = text.trim().replace(/^.*#/, '');
  return form.test(token) ? token : null;
}

/** Takes the token out of the address bar; null where neither the address nor this entry of the history has one. */
export function takeToken(): string | null {
  const token = tokenIn(location.hash);
  if (token !== null) history.replaceState({ token }, '', location.pathname + location.search);
  const kept: unknown = history.state;
  return kept !== null && typeof kept === 'object' && 'token' in kept ? String(kept.token) : null;
}

/** For a token that was typed into the page. */
export function keepToken(token: string): void {
  history.replaceState({ token }, '', location.pathname + location.search);
}
