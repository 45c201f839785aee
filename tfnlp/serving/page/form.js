// What a model can be asked: its signatures, the fields for them, and the request they make.

import { el } from './dom.js';
import { predictPath, token } from './api.js';
import { say } from './words.js';

const DEFAULT = 'serving_default';
const WHOLE = /^u?int\d+$/;

/**
 * Return the signatures that read texts, the model's own first.
 * @param {Object} model as the server tells of it
 * @returns {{key: string, texts: string[], turns: Set<string>, settings: Object[],
 *     outputs: string[]}[]}
 */
export function offered(model) {
  const found = Object.entries(model.signatures).map(([key, { inputs, outputs, method }]) => {
    const known = model.settings[key] ?? {};
    const texts = Object.keys(inputs)
      .filter((name) => !Object.hasOwn(known, name))
      .sort();
    return {
      key,
      // These read serialized examples.
      other: /(classify|regress)$/.test(method),
      strings: texts.every((name) => inputs[name] === 'string'),
      texts,
      turns: new Set(texts.filter((name) => model.kinds[name] === 'turns')),
      settings: Object.entries(known)
        .filter(([name]) => Object.hasOwn(inputs, name))
        .map(([name, value]) => ({ name, dtype: inputs[name], value })),
      outputs,
    };
  });
  const usable = found.filter((way) => !way.other && way.strings && way.texts.length);
  return usable.sort((a, b) => (b.key === DEFAULT) - (a.key === DEFAULT));
}

/** Find the texts of the sample command in a model card; it quotes nothing for the shell. */
export function sample(card, texts) {
  const body = /curl\s[^\n]*?-d\s+'(\{.*\})'\s/.exec(card)?.[1] ?? '';
  for (const written of [body, body.replaceAll("'\\''", "'")]) {
    try {
      const [row] = JSON.parse(written).instances;
      const found = typeof row === 'string' ? { [texts[0]]: row } : row;
      return Object.fromEntries(
        texts.filter((t) => typeof found[t] === 'string').map((t) => [t, found[t]]),
      );
    } catch {
      /* no sample, or one of another form */
    }
  }
  return {};
}

/** Make the fields of a signature's texts. */
export function textFields(way, values) {
  return way.texts.map((name, place) => {
    const turns = way.turns.has(name);
    const area = el('textarea', {
      id: `text-${place}`,
      name,
      dir: 'auto',
      rows: way.texts.length > 1 || turns ? 4 : 5,
      placeholder: say(turns ? 'typeTurns' : 'typeHere'),
      spellcheck: 'false',
      'aria-describedby': turns ? `help-${place}` : null,
    });
    area.value = values[name] ?? '';
    const help = turns ? [el('p', { class: 'hint', id: `help-${place}` }, say('turnsHelp'))] : [];
    return el('div', { class: 'field' }, el('label', { for: area.id }, name), area, ...help);
  });
}

/** Make the fields of a signature's settings. */
export function settingFields(way) {
  const fields = way.settings.map(({ name, dtype, value }, place) => {
    const id = `setting-${place}`;
    const field = el('input', {
      id,
      name,
      type: 'text',
      autocomplete: 'off',
      spellcheck: 'false',
      'data-dtype': dtype,
      inputmode: dtype === 'string' ? 'text' : 'decimal',
      placeholder: value === '' ? say('none') : String(value),
    });
    return el('div', { class: 'field' }, el('label', { for: id }, name), field);
  });
  return [el('p', { class: 'hint' }, say('settingsHelp')), ...fields];
}

/**
 * Read a request from the fields.
 * @returns {{body: Object, texts: Object, wrong: HTMLElement[]}} `wrong`: fields of another kind
 */
export function request(way, form) {
  const texts = {};
  // Half of a surrogate pair is no character that could be sent.
  const areas = form.querySelectorAll('textarea');
  for (const area of areas) texts[area.name] = area.value.toWellFormed?.() ?? area.value;
  const told = {};
  const wrong = [];
  const fields = form.querySelectorAll('#settings input');
  way.settings.forEach(({ name, dtype, value }, place) => {
    const field = fields[place];
    const [found, problem] = setting(field.value, dtype, value);
    field.setCustomValidity(problem);
    if (problem) wrong.push(field);
    told[name] = found;
  });
  const instances = [{ ...texts, ...told }];
  const body = way.key === DEFAULT ? { instances } : { signature_name: way.key, instances };
  return { body, texts, wrong };
}

/** Return a setting's value, and what is wrong with it. */
function setting(written, dtype, otherwise) {
  if (dtype === 'string') return [written || otherwise, ''];
  if (!written.trim()) return [otherwise, ''];
  const value = Number(written);
  if (WHOLE.test(dtype) && !Number.isSafeInteger(value)) return [otherwise, say('whole')];
  return Number.isFinite(value) ? [value, ''] : [otherwise, say('number')];
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** Write a request as a command for a POSIX shell; the token stays a variable. */
export function curl(name, body) {
  const lines = [`curl ${quoted(location.origin + predictPath(name))}`];
  if (token()) lines.push('-H "Authorization: Bearer $TOKEN"');
  lines.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(body))}`);
  return lines.join(' \\\n  ');
}
