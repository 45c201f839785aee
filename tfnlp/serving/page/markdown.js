// The Markdown of model cards, made of elements: what looks like HTML in it stays text.

import { el } from './dom.js';

const FENCE = /^\s*(```|~~~)/;
const HEADING = /^(#{1,6})\s+(.*?)\s*#*$/;
const ITEM = /^\s*(?:[-*+]|(\d+)[.)])\s+(.*)$/;
const RULE = /^\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const NUMBER = /^[-−+]?[\d.,]+%?$/;
const LINE = /^\s*([-*_])(\s*\1){2,}\s*$/;
// In order of strength: code, links, addresses, bold, emphasis. Each is of bounded length, so that
// what never ends is given up soon.
const INLINE = new RegExp(
  [
    /(`+)([^`]|[^`][^]{0,999}?[^`])\1(?!`)/,
    /\[([^\]]{1,999})\]\(([^()\s]{0,999})\)/,
    /(https?:\/\/[^\s<>()]{1,999}[^\s<>().,;:])/,
    /\*\*(\S(?:[^]{0,999}?\S)?)\*\*/,
    /\*(\S(?:[^*]{0,999}?\S)?)\*/,
  ]
    .map((part) => part.source)
    .join('|'),
);

/** Return the elements of a Markdown text; its title is left to the page. */
export function markdown(text) {
  const lines = text.replace(/\r\n?/g, '\n').split('\n');
  const blocks = [];
  for (let at = 0; at < lines.length;) {
    const [block, next] = blockAt(lines, at);
    if (block) blocks.push(block);
    at = next;
  }
  return blocks;
}

function blockAt(lines, at) {
  const line = lines[at];
  if (!line.trim()) return [null, at + 1];
  if (FENCE.test(line)) return code(lines, at);
  const heading = HEADING.exec(line);
  // The page's own headings are of the second level.
  if (heading)
    return [
      el(`h${Math.min(6, heading[1].length + 2)}`, { dir: 'auto' }, ...inline(heading[2])),
      at + 1,
    ];
  if (LINE.test(line)) return [el('hr'), at + 1];
  if (isTable(lines, at)) return table(lines, at);
  if (ITEM.test(line)) return list(lines, at);
  return paragraph(lines, at);
}

const isTable = (lines, at) =>
  lines[at].includes('|') && RULE.test(lines[at + 1] ?? '') && lines[at + 1].includes('-');

function code(lines, at) {
  const fence = FENCE.exec(lines[at])[1];
  let end = at + 1;
  while (end < lines.length && !lines[end].trim().startsWith(fence)) end += 1;
  const inside = lines.slice(at + 1, end).join('\n');
  return [el('pre', { tabindex: '0', dir: 'ltr' }, el('code', {}, inside)), end + 1];
}

function table(lines, at) {
  let end = at + 2;
  while (end < lines.length && lines[end].includes('|')) end += 1;
  const [head, , ...body] = lines.slice(at, end).map(cells);
  // A column of numbers stands at its end, and so does its title.
  const numbers = head.map(
    (_, i) => body.length > 0 && body.every((row) => NUMBER.test(row[i] ?? '')),
  );
  const row = (tag) => (found) =>
    el(
      'tr',
      {},
      ...head.map((_, i) =>
        el(tag, { class: numbers[i] ? 'number' : null, dir: 'auto' }, ...inline(found[i] ?? '')),
      ),
    );
  const made = el(
    'table',
    {},
    el('thead', {}, row('th')(head)),
    el('tbody', {}, ...body.map(row('td'))),
  );
  return [el('div', { class: 'scroll', tabindex: '0' }, made), end];
}

/** Divide a table's line; \| is a bar in a cell. */
function cells(line) {
  const inner = line
    .trim()
    .replace(/^\|/, '')
    .replace(/(^|[^\\])\|$/, '$1');
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll('\\|', '|'));
}

function list(lines, at) {
  const numbered = ITEM.exec(lines[at])[1] !== undefined;
  const items = [];
  let end = at;
  for (; end < lines.length && lines[end].trim(); end += 1) {
    const item = ITEM.exec(lines[end]);
    if (item) items.push(item[2]);
    else if (/^\s/.test(lines[end])) items.push(`${items.pop()} ${lines[end].trim()}`);
    else break;
  }
  const made = items.map((item) => el('li', { dir: 'auto' }, ...inline(item)));
  return [el(numbered ? 'ol' : 'ul', {}, ...made), end];
}

function paragraph(lines, at) {
  let end = at + 1;
  const starts = (i) =>
    FENCE.test(lines[i]) || HEADING.test(lines[i]) || ITEM.test(lines[i]) || isTable(lines, i);
  while (end < lines.length && lines[end].trim() && !starts(end)) end += 1;
  return [el('p', { dir: 'auto' }, ...inline(lines.slice(at, end).join('\n'))), end];
}

function inline(text) {
  const made = [];
  let rest = text;
  for (let found = INLINE.exec(rest); found; found = INLINE.exec(rest)) {
    const [whole, , coded, name, target, address, bold, soft] = found;
    made.push(
      rest.slice(0, found.index),
      piece(whole, { coded, name, target, address, bold, soft }),
    );
    rest = rest.slice(found.index + whole.length);
  }
  return [...made, rest].filter((part) => part !== '');
}

function piece(whole, { coded, name, target, address, bold, soft }) {
  if (coded !== undefined) return el('code', {}, coded.trim() || coded);
  if (bold !== undefined) return el('strong', {}, ...inline(bold));
  if (soft !== undefined) return el('em', {}, ...inline(soft));
  const to = address ?? target;
  // No javascript:, no data:, nothing relative.
  if (!/^https?:\/\//i.test(to)) return whole;
  return el('a', { href: to, rel: 'noopener noreferrer', target: '_blank' }, address ?? name);
}
