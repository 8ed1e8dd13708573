import { renderUnicodeCompact } from 'uqr';
import { formatTicket, parseTicket } from '../lib/internal';

/** Light modules around a code, on each side: a camera needs two at least. */
const border = 2;
/** Rows of the terminal that are for other words. */
const spared = 2;

/**
 * A ticket as a QR code of half blocks, one text a row, of light on dark. With one address alone, the likeliest, where
 * all of them make it higher than `rows`.
 */
export function ticketAsQr(ticket: string, rows = Infinity): string[] {
  const whole = asQr(ticket);
  if (whole.length + spared <= rows) return whole;
  const { others: _others, ...first } = parseTicket(ticket);
  return asQr(formatTicket(first));
}

/** A text as a QR code of half blocks, one text a row, of light on dark. */
export function asQr(text: string): string[] {
  return renderUnicodeCompact(text, { ecc: 'L', border }).split('\n');
}
