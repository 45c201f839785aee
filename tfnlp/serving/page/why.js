// Why an answer was given: its texts with what each word did for it.

import * as api from './api.js';
import { el, digits, isList, isNumber, isText, lengthOf, points } from './dom.js';
import { say } from './words.js';

const FAINT = 0.05; // of the heaviest weight: what is lighter is not marked

/** Return whether there is something in an answer that can be explained. */
export function explainable(row) {
  const numbers = Object.values(row).filter(isNumber).length;
  return (
    (isList(row.labels) && isList(row.scores)) ||
    Object.hasOwn(row, 'entities/text') ||
    (isText(row.answer) && isNumber(row.start)) ||
    (numbers === 1 && !Object.values(row).some(isText))
  );
}

/**
 * Ask why, and return the elements that say it.
 * @param {string} way how the model is explained: by its signature, or by asking it again
 */
export async function why(name, way, texts, signal) {
  if (way === 'signature') {
    const body = { signature_name: 'explain', instances: [texts] };
    const { content } = await api.predict(name, body, signal);
    return claim(ofSignature(content.predictions[0]), texts);
  }
  const { content } = await api.explain(name, texts, signal);
  return content.flatMap((one) => claim(one, texts));
}

/** Fold the lists of a signature's answer. */
function ofSignature(row) {
  const names = ['input', 'text', 'start', 'end', 'weight'];
  const pieces = Array.from({ length: row.pieces }, (_, place) =>
    Object.fromEntries(names.map((name) => [name, row[`pieces/${name}`][place]])),
  );
  return { label: row.label, score: row.score, pieces, flags: [] };
}

/** Show one thing that the model says, and each text with its words marked. */
function claim({ label, score, pieces, flags }, texts) {
  const top = Math.max(...pieces.map(({ weight }) => Math.abs(weight)), 0);
  const read = Object.entries(texts).filter(([name]) => pieces.some(({ input }) => input === name));
  const title = el('p', { class: 'name' }, el('bdi', {}, label), ` ${digits(score)}`);
  const notes = flags.map((flag) => el('p', { class: 'hint' }, flag));
  return [
    title,
    ...read.map(([name, text]) =>
      marked(
        points(text),
        pieces.filter(({ input }) => input === name),
        top,
      ),
    ),
    ...notes,
  ];
}

function marked(chars, pieces, top) {
  const parts = [];
  let at = 0;
  for (const { start, end, weight } of [...pieces].sort((a, b) => a.start - b.start)) {
    if (start < at) continue;
    const share = top ? Math.abs(weight) / top : 0;
    const text = chars.slice(start, end).join('');
    parts.push(chars.slice(at, start).join(''));
    const kind = weight > 0 ? 'pro' : 'contra';
    const given = { class: kind, title: digits(weight) };
    parts.push(share < FAINT ? text : lengthOf(el('mark', given, text), share));
    at = end;
  }
  return el('p', { class: 'marked why', dir: 'auto' }, ...parts, chars.slice(at).join(''));
}

/** Say what the colours mean. */
export const legend = () =>
  el(
    'p',
    { class: 'hint' },
    lengthOf(el('mark', { class: 'pro' }, say('pro')), 1),
    ' ',
    lengthOf(el('mark', { class: 'contra' }, say('contra')), 1),
  );
