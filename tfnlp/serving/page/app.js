// The page: which model, what it is asked, and what became of that.

import * as api from './api.js';
import { compact, shown } from './answers.js';
import { el, digits, isList } from './dom.js';
import * as form from './form.js';
import { markdown } from './markdown.js';
import { explainable, legend, why } from './why.js';
import { say, translate } from './words.js';

const LOOK_AGAIN = 2000; // [ms] while a model is being loaded

const at = (id) => document.getElementById(id);

/** What is shown now: the model's name, what it can be asked, and which way is chosen. */
const now = { name: '', ways: [], way: null, values: {}, ask: null, look: 0, explains: null };

// ------------------------------------------------------------------- the model

async function listModels() {
  try {
    const names = await api.models();
    const there = [...at('model').options].map((option) => option.value);
    if (names.join('\n') !== there.join('\n')) {
      at('model').replaceChildren(...names.map((name) => el('option', { value: name }, name)));
      at('model').value = now.name;
    }
    return names;
  } catch (error) {
    complain(at('trouble'), error, start);
    return null;
  }
}

const nameInAddress = () => {
  try {
    return decodeURIComponent(location.hash.replace(/^#\/?/, ''));
  } catch {
    return location.hash.slice(2);
  }
};

async function start() {
  clearTimeout(now.look);
  const names = await listModels();
  if (!names) return;
  const name = nameInAddress() || names[0];
  if (name) await choose(name);
  else wait(say('noModels'), start);
}

/** Show a model. */
async function choose(name) {
  clearTimeout(now.look);
  now.ask?.abort();
  now.name = name;
  at('model').value = name;
  document.title = `${name} · tfnlp`;
  at('version').hidden = true;
  try {
    const model = await api.model(name);
    if (now.name !== name) return;
    show(model);
    // It has come since the list was made.
    if (at('model').value !== name) await listModels();
  } catch (error) {
    if (now.name === name) await explain(name, error);
  }
}

/** Say why a model does not answer: it is being loaded, or was refused. */
async function explain(name, error) {
  const states = error.status === 404 || error.status === 503 ? await api.states(name) : [];
  if (now.name !== name) return;
  at('work').hidden = true;
  if (states.some(({ state }) => state === 'LOADING' || state === 'START')) {
    wait(say('loading'), () => choose(name));
    return;
  }
  const notes = states.map(({ version, state, status }) =>
    [say('state', version, state), status?.error_message].filter(Boolean).join(' '),
  );
  complain(at('trouble'), error, () => choose(name), notes);
}

/** Say what is waited for, and look again soon. */
function wait(text, again) {
  at('trouble').replaceChildren(el('p', { class: 'panel notice busy' }, text));
  now.look = setTimeout(again, LOOK_AGAIN);
}

function show(model) {
  const address = `#/${encodeURIComponent(now.name)}`;
  // The first model is chosen without an entry in the history.
  if (nameInAddress() !== now.name) history.replaceState(null, '', address);
  at('trouble').replaceChildren();
  at('version').textContent = say('version', model.version);
  at('version').hidden = false;
  at('card').replaceChildren(...(model.card.trim() ? markdown(model.card) : [say('noCard')]));
  now.ways = form.offered(model);
  now.explains = model.explains;
  at('work').hidden = false;
  at('ask').hidden = !now.ways.length;
  forget();
  if (!now.ways.length) {
    at('curl').textContent = '';
    refuse(model);
    return;
  }
  now.values = form.sample(model.card, now.ways[0].texts);
  showWays();
  chooseWay(now.ways[0]);
}

/** Say that a model reads no texts, and what it does read. */
function refuse(model) {
  const lines = Object.entries(model.signatures).map(
    ([key, { inputs, outputs }]) =>
      `${key}: ${Object.entries(inputs)
        .map(([n, d]) => `${n} ${d}`)
        .join(', ')} → ${outputs.join(', ')}`,
  );
  at('answer').replaceChildren(
    el('p', {}, say('noTexts')),
    el('pre', { tabindex: '0' }, lines.join('\n')),
  );
}

// ------------------------------------------------------------------- the fields

function showWays() {
  at('way').hidden = now.ways.length < 2;
  at('signature').replaceChildren(
    ...now.ways.map(({ key }) =>
      el('option', { value: key }, key === 'serving_default' ? say('ownWay', key) : key),
    ),
  );
}

function chooseWay(way) {
  now.way = way;
  // What was typed stays where the other way reads the same.
  at('inputs').replaceChildren(...form.textFields(way, now.values));
  at('settings').replaceChildren(...form.settingFields(way));
  at('more').hidden = !way.settings.length;
  update();
}

/** Keep up with what is typed. */
function update() {
  if (!now.way) return null;
  const request = form.request(now.way, at('ask'));
  Object.assign(now.values, request.texts);
  at('curl').textContent = form.curl(now.name, request.body);
  return request;
}

function continueTalk(name, answer) {
  const area = [...at('inputs').querySelectorAll('textarea')].find((field) => field.name === name);
  area.value = `${area.value.trimEnd()}\n${answer.replace(/\s*\n\s*/g, ' ')}\n`;
  update();
  area.focus();
}

// ------------------------------------------------------------------- the answer

async function ask() {
  if (now.ask || !now.way) return;
  const { body, texts, wrong } = update();
  if (wrong.length) {
    at('more').open = true;
    wrong[0].reportValidity();
    return;
  }
  const { name, way } = now;
  const mine = new AbortController();
  now.ask = mine;
  busy(true);
  try {
    const found = await api.predict(name, body, mine.signal);
    if (now.ask === mine) showAnswer(found, way, texts);
  } catch (error) {
    if (now.ask === mine && !mine.signal.aborted) {
      forget();
      complain(at('answer'), error, ask);
    }
  } finally {
    if (now.ask === mine) {
      now.ask = null;
      busy(false);
    }
  }
}

function busy(is) {
  at('answer').setAttribute('aria-busy', String(is));
  // A disabled button would lose the focus.
  at('send').setAttribute('aria-disabled', String(is));
  at('send').classList.toggle('busy', is);
  at('send').firstElementChild.textContent = say(is ? 'busy' : 'send');
}

function showAnswer({ content, text, ms }, way, texts) {
  const [row] = isList(content.predictions) ? content.predictions : [];
  // Of a single output TF Serving leaves out the name.
  const outputs = way.outputs.length === 1 ? { [way.outputs[0]]: row } : (row ?? {});
  const answer = shown(outputs, { texts, turns: way.turns, go: continueTalk });
  const asks = now.explains && way.key === 'serving_default' && explainable(outputs);
  at('answer').replaceChildren(...answer, ...(asks ? [whyButton(texts)] : []));
  at('time').textContent = `${digits(Math.max(1, Math.round(ms)))} ms`;
  // As it came, if it has what JSON has not.
  const plain = !/\b(NaN|Infinity)\b/.test(text);
  at('raw').querySelector('pre').textContent = plain ? compact(content) : text;
  at('raw').hidden = false;
}

/** A button that is replaced by what each word did for the answer. */
function whyButton(texts) {
  const { name, explains } = now;
  const place = el('section', { 'aria-live': 'polite' });
  const button = el('button', { type: 'button', onclick: explainAnswer }, say('why'));
  async function explainAnswer() {
    if (button.getAttribute('aria-disabled') === 'true' && button.isConnected) return;
    button.setAttribute('aria-disabled', 'true');
    button.textContent = say('busy');
    try {
      place.replaceChildren(...(await why(name, explains, texts)), legend());
    } catch (error) {
      complain(place, error, explainAnswer);
    }
  }
  place.append(button);
  return place;
}

/** Show no answer. */
function forget() {
  at('answer').replaceChildren(el('p', { class: 'hint' }, say('waiting')));
  at('time').textContent = '';
  at('raw').hidden = true;
}

/** Say what went wrong; where a token is wanted, ask for it. */
function complain(place, error, again, notes = []) {
  if (!(error instanceof api.Refused)) console.error(error);
  if (error.status === 401) {
    askToken(again);
    if (place === at('trouble')) return;
  }
  const texts = [error.message, error.hint, ...notes].filter(Boolean);
  const title = el('p', { class: 'title' }, error.title ?? String(error));
  const status = error.status ? [el('span', { class: 'chip' }, `HTTP ${error.status}`)] : [];
  title.append(...status);
  const retry = el('button', { type: 'button', onclick: () => again() }, say('again'));
  const said = texts.map((text) => el('p', { dir: 'auto' }, text));
  // The place for troubles is an alert itself.
  const role = place === at('trouble') ? null : 'alert';
  place.replaceChildren(el('div', { class: 'panel error', role }, title, ...said, retry));
}

function askToken(again) {
  at('trouble').replaceChildren();
  at('token-help').textContent = say(api.token() ? 'tokenWrong' : 'tokenHelp');
  at('token-form').hidden = false;
  at('token').value = '';
  at('token').focus();
  at('token-form').onsubmit = (event) => {
    event.preventDefault();
    api.keepToken(at('token').value.trim());
    at('token-form').hidden = true;
    update();
    again();
  };
}

// ------------------------------------------------------------------- what a person does

async function copy() {
  const text = at('curl').textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without https there is no clipboard but this.
    getSelection().selectAllChildren(at('curl'));
    document.execCommand('copy');
  }
  const button = at('copy').firstElementChild;
  button.textContent = say('copied');
  at('copied').textContent = say('copied');
  setTimeout(() => {
    button.textContent = say('copy');
    at('copied').textContent = '';
  }, 2000);
}

function listen() {
  at('model').addEventListener('change', () => {
    location.hash = `/${encodeURIComponent(at('model').value)}`;
  });
  // Models come and go.
  at('model').addEventListener('focus', listModels);
  at('signature').addEventListener('change', () => {
    forget();
    chooseWay(now.ways.find(({ key }) => key === at('signature').value));
  });
  at('ask').addEventListener('input', (event) => {
    if (event.target !== at('signature')) update();
  });
  at('ask').addEventListener('submit', (event) => {
    event.preventDefault();
    ask();
  });
  at('ask').addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      ask();
    }
  });
  at('copy').addEventListener('click', copy);
  window.addEventListener('hashchange', () => {
    const name = nameInAddress();
    if (name && name !== now.name) choose(name);
  });
}

translate();
listen();
start();
