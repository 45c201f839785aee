// Elements and numbers. Data becomes text nodes only: nothing here reads HTML.

/**
 * Make an element.
 * @param {string} tag
 * @param {Object} given attributes; `on...` are listeners, `null` and `false` are left out
 * @param {...(Node|string|number)} children
 */
export function el(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false)
      made.setAttribute(name, value === true ? '' : value);
  }
  made.append(...children);
  return made;
}

/** Set a bar's length, 0 to 1: by the CSSOM, as the page's policy allows no style attribute. */
export function lengthOf(element, share) {
  element.style.setProperty('--share', String(Math.min(1, Math.max(0, share || 0))));
  return element;
}

/** Offsets count Unicode code points; JavaScript's strings count UTF-16 units. */
export const points = (text) => Array.from(text);

export const isNumber = (value) => typeof value === 'number';
export const isList = Array.isArray;
export const all = (list, test) => isList(list) && list.length > 0 && list.every(test);
export const isText = (value) => typeof value === 'string';
export const isObject = (value) => value !== null && typeof value === 'object' && !isList(value);

/** A number with as many digits as a person reads. */
export function digits(value) {
  if (value === null) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '−∞';
  if (Number.isInteger(value)) return value.toLocaleString(document.documentElement.lang);
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e6) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

/** A probability in percent; what rounds to 0 or 100 % but is not is told so. */
export function percent(value) {
  if (!Number.isFinite(value)) return digits(value);
  if (value > 0 && value < 0.001) return '<0.1 %';
  if (value < 1 && value > 0.999) return '>99.9 %';
  return `${(value * 100).toFixed(1)} %`;
}

/** A score as it reads best: in percent if all of its kind are probabilities. */
export const scorer = (scores) => (scores.every((s) => s >= 0 && s <= 1) ? percent : digits);
