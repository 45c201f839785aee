// What the page asks of the server.

import { say } from './words.js';

const SECONDS = 120;
const KEY = 'tfnlp-token';

/** A request that was not answered, as a person is told. */
export class Refused extends Error {
  constructor(status, title, message, hint = '') {
    super(message);
    Object.assign(this, { status, title, hint });
  }
}

// Where storage is forbidden, the token lives as long as the page.
let kept = '';

export function token() {
  try {
    return sessionStorage.getItem(KEY) ?? kept;
  } catch {
    return kept;
  }
}

export function keepToken(value) {
  kept = value;
  try {
    sessionStorage.setItem(KEY, value);
  } catch {
    /* kept above */
  }
}

const place = (name) => encodeURIComponent(name);

export const models = () => ask('/page/models').then((found) => found.content);
export const model = (name) => ask(`/page/models/${place(name)}`).then((found) => found.content);
export const predictPath = (name) => `/v1/models/${place(name)}:predict`;

/** The states of a model's versions; none if it is not known. */
export async function states(name) {
  try {
    const { content } = await ask(`/v1/models/${place(name)}`);
    return content.model_version_status ?? [];
  } catch {
    return [];
  }
}

/** Ask why a model that has no signature for it answers as it does. */
export const explain = (name, texts, signal) =>
  ask(`/page/models/${place(name)}/explain`, { body: texts, signal });

/** Ask a model. */
export const predict = (name, body, signal) => ask(predictPath(name), { body, signal });

/**
 * Send a request.
 * @returns {Promise<{content: any, text: string, ms: number}>}
 * @throws {Refused} unless it is answered; DOMException AbortError if `signal` said so
 */
async function ask(path, { body, signal } = {}) {
  const since = performance.now();
  const limit = AbortSignal.timeout(SECONDS * 1000);
  const headers = body === undefined ? {} : { 'Content-Type': 'application/json' };
  if (token()) headers.Authorization = `Bearer ${token()}`;
  let response;
  let text;
  try {
    response = await fetch(path, {
      method: body === undefined ? 'GET' : 'POST',
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    if (limit.aborted) throw new Refused(0, say('timeout', SECONDS), '', say('hTimeout'));
    throw new Refused(0, say('e0'), '', say('h0', error.message));
  }
  const content = read(text);
  if (!response.ok) throw refusal(response.status, content?.error ?? text);
  if (content === undefined) throw new Refused(response.status, say('eForm'), text.slice(0, 500));
  return { content, text, ms: performance.now() - since };
}

const NAMED = [400, 401, 404, 413, 429, 503, 504];

function refusal(status, message) {
  const key = NAMED.includes(status) ? `e${status}` : `e${String(status)[0]}`;
  const hint = status === 429 ? say('h429') : '';
  return new Refused(status, say(key), String(message).slice(0, 2000), hint);
}

/**
 * Read JSON as TF Serving writes it: with NaN, which is null here, and Infinity.
 * @returns undefined if it is none
 */
export function read(text) {
  const bare = /"(?:[^"\\]|\\.)*"|NaN|Infinity/g;
  const known = { NaN: 'null', Infinity: '1e999' };
  try {
    return JSON.parse(/NaN|Infinity/.test(text) ? text.replace(bare, (m) => known[m] ?? m) : text);
  } catch {
    return undefined;
  }
}
