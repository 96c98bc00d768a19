// Builds elements, and writes numbers as people read them.
// What comes from the server becomes text nodes and attributes only, never markup: labels and tags are anybody's.

const SVG = 'http://www.w3.org/2000/svg';

export const known = (value) => value !== undefined && value !== null;
export const byId = (id) => document.getElementById(id);
export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (!known(value) || value === false) continue;
    if (typeof value === 'function') node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat(2).filter((child) => known(child) && child !== false));
  return node;
}

// Only web addresses become links: a card could say "javascript:...".
export function outside(address) {
  const web = /^https?:\/\/[^\s]+$/i.test(address);
  return web ? h('a', { href: address, rel: 'noopener noreferrer', target: '_blank' }, address.replace(/^https?:\/\//, '')) : String(address);
}

export const tagOf = (tag) => {
  const [name, version] = String(tag).split(':');
  return [name, version && h('span', { class: 'version' }, `:${version}`)];
};
export const toModel = (tag) => `#models/${encodeURIComponent(tag)}`;
export const toJob = (id) => `#search/${encodeURIComponent(id)}`;
export const tryIt = (tag) => h('a', { class: 'button primary', href: `#classify/${encodeURIComponent(tag)}` }, 'Try it');

export const number = (value, digits = 3) => Number.isFinite(value)
  ? value.toLocaleString('en', Math.abs(value) >= 1000 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: digits }) : '–';
export const millions = (value) => Number.isFinite(value) ? (value / 1e6).toLocaleString('en', { maximumFractionDigits: value < 1e7 ? 2 : 1 }) : null;
export const ms = (value) => `${value < 10 ? value.toFixed(1) : number(value)} ms`;
export const day = (text) => new Date(text).toLocaleDateString('en-GB', { day: 'numeric', month: 'short', year: 'numeric' });
export const minute = (text) => `${day(text)}, ${new Date(text).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' })}`;

export function percent(share) {
  if (share > 0 && share < 0.0001) return '< 0.01 %';
  return `${(100 * share).toFixed(share < 0.1 ? 2 : 1)} %`;
}

export function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${number(seconds / 3600, 2)} h`;
}

// A value of an arch, a setting or a record, in one line.
export function plain(value) {
  if (!known(value)) return '–';
  if (Array.isArray(value)) return value.map(plain).join(', ');
  return typeof value === 'object' ? Object.entries(value).map(([name, of]) => `${name} ${plain(of)}`).join(', ') : String(value);
}

export const facts = (rows) => h('dl', { class: 'facts' }, rows.filter(([, value]) => known(value) && value !== '')
  .map(([name, value]) => [h('dt', null, name), h('dd', null, value)]));

// A table that scrolls by itself where the window is narrow. `head` has cells or texts, "#text" over a column of numbers.
export function table(caption, head, rows) {
  const title = (cell) => typeof cell === 'string' ? h('th', { scope: 'col', class: cell[0] === '#' && 'number' }, cell.replace(/^#/, '')) : cell;
  return h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption },
    h('table', null, h('thead', null, h('tr', null, head.map(title))), h('tbody', null, rows)));
}

// The choices of an arch, folded.
export function archTable(arch, title) {
  const choices = Object.entries(arch ?? {});
  return choices.length > 0 && h('details', null, h('summary', null, `${title} ${choices.length} choices`),
    table('Choices', ['Label', 'Chosen'], choices.map(([label, value]) => h('tr', null, h('th', { scope: 'row' }, label), h('td', null, plain(value))))));
}

// The classes of an answer, the likeliest first.
export const bars = (predictions) => h('ol', { class: 'bars' }, predictions.map(bar));

function bar({ label, probability }, place) {
  const inner = h('span');
  inner.style.width = `${Math.max(0.3, 100 * probability)}%`;
  return h('li', { class: place ? null : 'best' }, h('span', { class: 'label' }, label), h('span', { class: 'value' }, percent(probability)), h('span', { class: 'bar', 'aria-hidden': 'true' }, inner));
}

export const loading = (what) => h('p', { class: 'empty' }, `Reading ${what} …`);

// A part of the page that follows a value: built anew when the value changed, and left alone, focus and all, when not.
export function follow(build) {
  const node = h('div');
  let key = '';
  const update = (value) => {
    const now = JSON.stringify(value);
    if (now === key) return;
    key = now;
    node.replaceChildren(...[build(value)].flat().filter(Boolean));
  };
  return { node, update };
}
