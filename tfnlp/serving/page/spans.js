// Parts of a text, marked where they stand. Offsets are in Unicode code points.

import { el, digits, isNumber, isText, points, scorer } from './dom.js';
import { named, say } from './words.js';

const HUES = 8;

/** Return the text among these of which every span is a part, as its code points. */
export function source(spans, texts) {
  const fits = (chars) =>
    spans.every(
      ({ start, end, text }) =>
        isNumber(start) && start >= 0 && end > start && chars.slice(start, end).join('') === text,
    );
  return Object.values(texts).map(points).find(fits);
}

/** Return a text with spans marked; of those that overlap only the first. */
function marked(chars, spans, markOf) {
  const parts = [];
  let at = 0;
  for (const span of [...spans].sort((a, b) => a.start - b.start)) {
    if (span.start < at) continue;
    parts.push(chars.slice(at, span.start).join(''));
    parts.push(markOf(chars.slice(span.start, span.end).join(''), span));
    at = span.end;
  }
  return el('p', { class: 'marked', dir: 'auto' }, ...parts, chars.slice(at).join(''));
}

/** Show things found in a text: the text with them, what the colours mean, and a list. */
export function entities(items, texts) {
  const chars = source(items, texts);
  if (!items.length) {
    const [text] = Object.values(texts);
    const read = el('p', { class: 'marked', dir: 'auto' }, text ?? '');
    return [el('p', { class: 'verdict none' }, say('noEntities')), read];
  }
  const types = [...new Set(items.map((item) => String(item.type ?? '')))];
  const hue = (type) => `hue-${types.indexOf(String(type ?? '')) % HUES}`;
  const mark = (text, { type }) =>
    el('mark', { class: hue(type) }, el('span', { class: 'said' }, text), ...tag(type));
  const list = el('details', {}, el('summary', {}, say('list', items.length)), table(items));
  if (!chars) return [table(items)];
  return [marked(chars, items, mark), legend(types, items, hue), list];
}

const tag = (type) => (type ? [el('bdi', { class: 'tag' }, type)] : []);

function legend(types, items, hue) {
  const count = (type) => items.filter((item) => String(item.type ?? '') === type).length;
  const shown = types
    .filter(Boolean)
    .map((type) =>
      el(
        'li',
        { class: hue(type) },
        el('bdi', {}, type),
        el('span', { class: 'count' }, count(type)),
      ),
    );
  return el('ul', { class: 'legend' }, ...shown);
}

/** Show a part of a text that answers a question. */
export function answer({ answer: said, start, end, score, no_answer: none }, texts) {
  const small = [];
  if (isNumber(score)) small.push(say('chance', scorer([score])(score)));
  if (isNumber(none)) small.push(say('noAnswerChance', scorer([none])(none)));
  const notes = el('p', { class: 'hint' }, small.join(' · '));
  if (start < 0 || said === '') return [el('p', { class: 'verdict none' }, say('noAnswer')), notes];
  const chars = source([{ start, end, text: said }], texts);
  const mark = (text) => el('mark', { class: 'hue-0' }, el('span', { class: 'said' }, text));
  const context = chars ? [marked(chars, [{ start, end }], mark)] : [];
  return [el('p', { class: 'verdict', dir: 'auto' }, said), notes, ...context];
}

const isSide = (name) => /^(head|tail)_/.test(name);

/** Show triples: each a line, with the types of both ends. */
export function triples(items) {
  const end = (item, side) =>
    el('td', { dir: 'auto' }, String(item[side]), ' ', ...tag(item[`${side}_type`]));
  const rows = items.map((item) =>
    el(
      'tr',
      {},
      end(item, 'head'),
      el('td', { class: 'relation', dir: 'auto' }, String(item.relation)),
      end(item, 'tail'),
      ...(isNumber(item.score)
        ? [el('td', { class: 'number' }, scorer([item.score])(item.score))]
        : []),
    ),
  );
  const names = ['head', 'relation', 'tail', ...(isNumber(items[0]?.score) ? [''] : [])];
  return [el('p', { class: 'name' }, 'triples'), framed(names, rows)];
}

export const isTriple = (item) =>
  ['head', 'relation', 'tail'].every((name) => isText(item[name])) &&
  Object.keys(item).every(
    (name) => ['head', 'relation', 'tail', 'score'].includes(name) || isSide(name),
  );

/** Show any list of things as a table. */
export function table(items) {
  const first = ['text', 'type', 'start', 'end'];
  const there = Object.keys(items[0] ?? {});
  const names = [
    ...first.filter((n) => there.includes(n)),
    ...there.filter((n) => !first.includes(n)),
  ];
  const rows = items.map((item) => el('tr', {}, ...names.map((name) => cell(name, item[name]))));
  return framed(names, rows);
}

function cell(name, value) {
  if (isNumber(value) || value === null) {
    const write = name === 'score' ? scorer([value]) : digits;
    return el('td', { class: 'number' }, write(value));
  }
  return el('td', { dir: 'auto' }, isText(value) ? value : JSON.stringify(value));
}

function framed(names, rows) {
  const head = el(
    'thead',
    {},
    el('tr', {}, ...names.map((n) => el('th', { scope: 'col' }, named(n)))),
  );
  return el(
    'div',
    { class: 'scroll', tabindex: '0' },
    el('table', {}, head, el('tbody', {}, ...rows)),
  );
}
