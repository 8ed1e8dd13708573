import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';

const web = path.join(__dirname, '..', '..', 'web');

/** What the scripts of the page do not say, and why. */
const forbidden: readonly (readonly [RegExp, string])[] = [
  [
    /\b(?:inner|outer)HTML\b|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|setHTML/,
    'names become text alone',
  ],
  [/\beval\(|new Function|setTimeout\(['"`]/, 'nothing is run that did not come as a script'],
  [/crypto\.subtle|serviceWorker|\bcaches\b|randomUUID/, 'an insecure context has none of it'],
  [/document\.cookie|localStorage|sessionStorage|indexedDB/, 'a token is kept where no other page reads it'],
  [/['"`](?:https?:)?\/\/(?!www\.w3\.org\/2000\/svg)[a-z]/, 'everything comes from where the page is'],
];

describe('the scripts of the page', () => {
  const scripts = readdirSync(web).filter((name) => name.endsWith('.ts'));
  it('do nothing that their rules forbid', () => {
    expect(scripts).to.include('page.ts');
    for (const name of scripts)
      for (const [pattern, why] of forbidden)
        expect(readFileSync(path.join(web, name), 'utf8'), `${name}: ${why}`).to.not.match(pattern);
  });

  it('and the page itself has no script, style or handler within it, and asks for nothing from elsewhere', () => {
    const text = readFileSync(path.join(web, 'index.html'), 'utf8');
    expect(text).to.not.match(/<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=|(?:src|href)="(?:https?:)?\/\//);
    expect(readFileSync(path.join(web, 'page.css'), 'utf8')).to.not.match(/@import|url\(['"]?(?:\w+:)?\/\//);
  });
});
