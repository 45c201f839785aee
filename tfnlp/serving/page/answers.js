// An answer as a person would want it. The page knows no tasks: it goes by the outputs' names and
// shapes, as tfnlp.saved_model does. Each of VIEWS takes what it shows from the outputs that are
// left; `rest` shows what none took.

import { all, digits, el, isList, isNumber, isObject, isText, lengthOf, scorer } from './dom.js';
import * as spans from './spans.js';
import { named, say } from './words.js';

const MOST = 10; // bars shown at first
const FIRST = 8; // numbers of a vector

/**
 * Return the elements that show an answer.
 * @param {Object} row outputs by name
 * @param {{texts: Object, turns: Set<string>, go: Function}} asked the texts by name, which of them
 *     are conversations, and what continues one
 */
export function shown(row, asked) {
  const heads = headsOf(row);
  if (heads) {
    return heads.flatMap(([name, own]) => [
      el('h3', {}, el('bdi', {}, name)),
      ...shown(own, asked),
    ]);
  }
  const left = ofHead(row);
  const main = VIEWS.flatMap((view) => view(left, asked) ?? []);
  return [...main, ...rest(left, !main.length)];
}

/** Return the answers of several models by name, or null: their outputs are NAME.label and so on. */
function headsOf(row) {
  const names = Object.keys(row);
  if (!names.length || !names.every((name) => name.includes('.'))) return null;
  const found = new Map();
  for (const name of names) {
    const cut = name.lastIndexOf('.');
    const own = found.get(name.slice(0, cut)) ?? {};
    found.set(name.slice(0, cut), { ...own, [name.slice(cut + 1)]: row[name] });
  }
  return [...found];
}

/** Return what the model of a row gives, where `fields` names that; its lists are filled up. */
function ofHead(row) {
  if (!isText(row.fields) || !isText(row.head)) return { ...row };
  const names = row.fields.split(',');
  const own = Object.fromEntries(Object.entries(row).filter(([name]) => names.includes(name)));
  if (isList(own.labels) && isList(own.scores)) {
    const count = own.labels.filter((label) => label !== '').length;
    for (const name of ['labels', 'scores', 'given']) {
      if (isList(own[name])) own[name] = own[name].slice(0, count);
    }
  }
  return own;
}

/** Take outputs from those that are left. */
function take(left, ...names) {
  const taken = {};
  for (const name of names) {
    if (Object.hasOwn(left, name)) taken[name] = left[name];
    delete left[name];
  }
  return taken;
}

const isScore = (value) => isNumber(value) || value === null;
const areScores = (labels, scores) =>
  all(labels, isText) && all(scores, isScore) && labels.length === scores.length;

// ------------------------------------------------------------------- labels

function labels(left) {
  if (!areScores(left.labels, left.scores)) return null;
  const told = take(left, 'labels', 'scores', 'label', 'score', 'given', 'grade');
  const chosen = chosenOf(told);
  return [...verdict(chosen, told), bars(told.labels, told.scores, chosen)];
}

/** Return the labels that the model gives; undefined if it does not say. */
function chosenOf({ labels: names, given, label, grade }) {
  if (isList(given)) return names.filter((_, place) => given[place]);
  if (isText(label)) return names.includes(label) ? [label] : label.split('|').filter(Boolean);
  if (isNumber(grade)) return names.filter((name) => Number(name) === grade);
  return undefined;
}

function verdict(chosen, { score }) {
  if (!chosen) return [];
  if (!chosen.length) return [el('p', { class: 'verdict none' }, say('none'))];
  const parts = chosen.map((name) => el('bdi', { class: 'chosen' }, name || say('empty')));
  const sure =
    isNumber(score) && chosen.length === 1
      ? [el('span', { class: 'sure' }, scorer([score])(score))]
      : [];
  return [el('p', { class: 'verdict' }, ...parts, ...sure)];
}

/** Show labels by score, the highest first. */
function bars(names, scores, chosen = []) {
  const write = scorer(scores);
  const longest = Math.max(1, ...scores.map(Math.abs).filter(Number.isFinite));
  const order = names.map((_, place) => place).sort((a, b) => scores[b] - scores[a]);
  const items = order.map((place, rank) => {
    const is = chosen.includes(names[place]);
    const item = el(
      'li',
      { class: is ? 'chosen' : null, 'aria-current': is ? 'true' : null, hidden: rank >= MOST },
      el('bdi', { class: 'label' }, names[place] || say('empty')),
      el('span', { class: 'track', 'aria-hidden': 'true' }, el('span', { class: 'bar' })),
      el('span', { class: 'value' }, write(scores[place])),
    );
    return lengthOf(item, scores[place] / longest);
  });
  const list = el('ol', { class: 'bars' }, ...items);
  return items.length > MOST ? el('div', {}, list, unfold(items)) : list;
}

function unfold(items) {
  const button = el(
    'button',
    { type: 'button', class: 'plain', 'aria-expanded': 'false' },
    say('others', items.length),
  );
  button.addEventListener('click', () => {
    const open = button.getAttribute('aria-expanded') !== 'true';
    items.slice(MOST).forEach((item) => {
      item.hidden = !open;
    });
    button.setAttribute('aria-expanded', String(open));
    button.textContent = open ? say('fewer') : say('others', items.length);
  });
  return button;
}

// ------------------------------------------------------------------- spans, lists

function partOfText(left, { texts }) {
  if (!isText(left.answer) || !isNumber(left.start) || !isNumber(left.end)) return null;
  return spans.answer(take(left, 'answer', 'start', 'end', 'score', 'no_answer'), texts);
}

/** Lists of things: a count, and next to it lists of what each has. */
function lists(left, { texts }) {
  const groups = Object.keys(left).filter(
    (name) =>
      Number.isInteger(left[name]) &&
      Object.keys(left).some((other) => other.startsWith(`${name}/`) && isList(left[other])),
  );
  return groups.flatMap((group) => {
    const names = Object.keys(left).filter((name) => name.startsWith(`${group}/`));
    const taken = take(left, group, ...names);
    const things = Array.from({ length: taken[group] }, (_, place) =>
      Object.fromEntries(
        names.map((name) => [name.slice(group.length + 1), taken[name]?.[place] ?? null]),
      ),
    );
    const has = (name) => names.includes(`${group}/${name}`);
    return list(group, things, has('start') && has('end') && has('text'), texts);
  });
}

function list(group, things, areSpans, texts) {
  if (areSpans) return spans.entities(things, texts);
  if (!things.length)
    return [el('p', { class: 'name' }, group), el('p', { class: 'verdict none' }, say('nothing'))];
  if (things.every(spans.isTriple)) return spans.triples(things);
  if (things.every((thing) => areScores(thing.tokens, thing.scores))) {
    return things.map((thing, place) => choices(`${group} ${place + 1}`, thing));
  }
  return [el('p', { class: 'name' }, group), spans.table(things)];
}

/** Show the most likely of what may stand at a place. */
function choices(name, { token, tokens, scores }) {
  return el(
    'section',
    {},
    el('p', { class: 'name' }, name),
    bars(tokens, scores, isText(token) ? [token] : []),
  );
}

// ------------------------------------------------------------------- text

function generated(left, { texts, turns, go }) {
  if (!isText(left.generated)) return null;
  const told = take(left, 'generated', 'score', 'tokens', 'cut');
  const small = [];
  if (isNumber(told.tokens)) small.push(say('tokens', digits(told.tokens)));
  if (isNumber(told.score)) small.push(say('score', digits(told.score)));
  const notes = el('p', { class: 'hint' }, small.join(' · '));
  const cut = told.cut > 0 ? [el('p', { class: 'warning' }, say('cut', digits(told.cut)))] : [];
  const [talk] = Object.keys(texts).filter((name) => turns.has(name));
  const text = told.generated || say('empty');
  const written = el(
    'p',
    { class: told.generated ? 'generated' : 'generated none', dir: 'auto' },
    text,
  );
  if (talk === undefined) return [written, ...cut, notes];
  const button = el(
    'button',
    { type: 'button', onclick: () => go(talk, told.generated) },
    say('go'),
  );
  return [conversation(texts[talk], written), ...cut, notes, button];
}

/** Show turns as they were said, and the answer below. */
function conversation(text, answer) {
  // A line that begins with U+0001 is a system prompt.
  const said = text.split('\n').filter((turn) => turn.trim() && !turn.startsWith('\u0001'));
  // The last turn is what is answered: it and every second before it are the user's.
  const side = (place) => ((said.length - place) % 2 ? 'user' : 'other');
  const turns = said.map((turn, place) => el('li', { class: side(place), dir: 'auto' }, turn));
  return el('ol', { class: 'talk' }, ...turns, el('li', { class: 'other new' }, answer));
}

const VIEWS = [labels, partOfText, generated, lists];

// ------------------------------------------------------------------- the rest

function rest(left, only) {
  return Object.entries(left).map(([name, value]) => {
    const inner = valueOf(name, value);
    return el(
      'div',
      { class: only ? 'output only' : 'output' },
      el('p', { class: 'name' }, named(name)),
      ...inner,
    );
  });
}

function valueOf(name, value) {
  if (isNumber(value) || value === null) return number(name, value);
  if (typeof value === 'boolean') return [el('p', { class: 'number' }, say(value ? 'yes' : 'no'))];
  if (isText(value)) return [el('p', { class: 'generated', dir: 'auto' }, value || say('empty'))];
  if (all(value, isScore) && value.length > 1) return vector(value);
  if (all(value, isObject)) return [spans.table(value)];
  return [el('pre', { tabindex: '0' }, compact(value))];
}

function number(name, value) {
  const written = el('p', { class: 'number' }, digits(value));
  // A cosine has bounds; of other numbers none are known.
  if (name !== 'similarity') return [written];
  const gauge = el(
    'span',
    { class: 'gauge', 'aria-hidden': 'true' },
    el('span', { class: 'needle' }),
  );
  const ends = el(
    'span',
    { class: 'ends', 'aria-hidden': 'true' },
    ...['−1', '0', '1'].map((end) => el('span', {}, end)),
  );
  return [written, lengthOf(gauge, (value + 1) / 2), ends];
}

function vector(values) {
  const length = Math.hypot(...values);
  const first = values.slice(0, FIRST).map(digits).join('  ');
  return [
    el('p', {}, say('dimensions', values.length, digits(length))),
    el('p', { class: 'hint' }, say('first', Math.min(FIRST, values.length))),
    el('pre', { tabindex: '0', dir: 'ltr' }, values.length > FIRST ? `${first}  …` : first),
  ];
}

/** Write JSON with a line for each field, and lists of plain values in one. */
export function compact(value, indent = '') {
  const inner = `${indent}  `;
  if (isList(value) && value.some((item) => item !== null && typeof item === 'object')) {
    return `[\n${value.map((item) => inner + compact(item, inner)).join(',\n')}\n${indent}]`;
  }
  if (isList(value)) return `[${value.map((item) => compact(item)).join(', ')}]`;
  if (isObject(value)) {
    const fields = Object.entries(value).map(
      ([k, v]) => `${inner}${JSON.stringify(k)}: ${compact(v, inner)}`,
    );
    return fields.length ? `{\n${fields.join(',\n')}\n${indent}}` : '{}';
  }
  return isNumber(value) && !Number.isFinite(value)
    ? String(value)
    : (JSON.stringify(value) ?? String(value));
}
