// Models: what the store holds, as a table that sorts and as accuracy against latency.
import { call } from './api.js';
import { figure, scatter } from './chart.js';
import { byId, day, follow, h, known, loading, millions, number, table, tagOf, toModel } from './dom.js';
import { showModel } from './model.js';
import { problem } from './token.js';

const top = (model) => model.top1 ?? model.metric?.top1;

const COLUMNS = [
  { name: 'Model', of: (model) => model.tag, write: (_, model) => name(model), text: true },
  { name: 'Top-1, %', of: top, write: accuracy },
  { name: 'Latency, ms', of: (model) => model.latency_ms, write: (value) => number(value), title: 'median of ONNX Runtime for one image or text' },
  { name: 'Params, M', of: (model) => model.params, write: millions },
  { name: 'MACs, M', of: (model) => model.macs, write: millions },
  { name: 'Input, px', of: (model) => model.input_size, write: String },
  { name: 'Space', of: (model) => model.space, write: String, text: true },
  { name: 'Published', of: (model) => model.created, write: day, text: true },
];

let models = [];
let sorted = { column: 7, up: false };
let dataset = null;
let timer = 0;
let looks = 0;

const plot = figure(null, scatter);
const list = follow(rows);
const trade = follow(tradeOff);

export function init() {
  byId('models').append(list.node, trade.node);
  list.node.append(loading('the models'));
}

export function show(tag) {
  showModel(tag);
  looks = 10;
  refresh();
}

export function hide() {
  looks = 0;
  clearTimeout(timer);
}

async function refresh() {
  clearTimeout(timer);
  try {
    models = await call('models', { what: 'a list of models' });
    draw();
    // The server counts parameters and MACs of new versions in the background.
    if (looks-- > 0 && models.some((model) => !known(model.params))) timer = setTimeout(refresh, 3000);
  } catch (error) {
    list.update(error);
  }
}

function draw() {
  list.update([models, sorted]);
  trade.update([models, dataset]);
}

function rows(given) {
  if (given instanceof Error) return problem(given);
  if (!models.length) return h('p', { class: 'empty' }, 'No model is published yet. ', h('code', null, 'hubserve publish efficientnet-lite0'), ' fills the store.');
  const { column, up } = sorted;
  const key = COLUMNS[column].of;
  const order = [...models].sort((a, b) => compare(key(a), key(b), up));
  return table('Models', COLUMNS.map(head), order.map((model) => h('tr', null, COLUMNS.map((entry, place) => {
    const value = entry.of(model);
    const cell = known(value) ? entry.write(value, model) : h('span', { class: 'unknown' }, 'not measured');
    return h(place ? 'td' : 'th', { class: !entry.text && 'number', scope: !place && 'row' }, cell);
  }))));
}

// What is not known comes last, whichever way the column is sorted.
function compare(a, b, up) {
  if (!known(a) || !known(b)) return known(b) - known(a);
  const order = typeof a === 'string' ? a.localeCompare(b) : a - b;
  return up ? order : -order;
}

function head({ name: title, title: hint, text }, place) {
  const on = sorted.column === place;
  const sort = () => {
    sorted = { column: place, up: on ? !sorted.up : Boolean(text) };
    draw();
    byId('models').querySelectorAll('thead button')[place].focus();
    byId('said').textContent = `Sorted by ${title}, ${sorted.up ? 'ascending' : 'descending'}.`;
  };
  return h('th', { scope: 'col', class: text ? null : 'number', 'aria-sort': on ? (sorted.up ? 'ascending' : 'descending') : null },
    h('button', { type: 'button', onclick: sort, title: hint }, title, on && h('span', { 'aria-hidden': 'true' }, sorted.up ? ' ↑' : ' ↓')));
}

// The version, where the store has several of that name.
function name(model) {
  const [first] = model.tag.split(':');
  const several = models.filter((other) => other.tag.startsWith(`${first}:`)).length > 1;
  const badges = [model.default && 'default', ...(model.aliases ?? [])].filter(Boolean);
  return [h('a', { href: toModel(model.tag), title: model.tag }, several ? tagOf(model.tag) : first), badges.map((text) => h('span', { class: 'badge' }, text)),
    model.state === 'loading' && h('span', { class: 'badge', title: 'loaded for the first time' }, 'loading'),
    model.state === 'refused' && h('span', { class: 'badge failed', title: model.problem }, 'refused')];
}

function accuracy(value, model) {
  return [number(value, 4), model.metric && h('span', { class: 'version' }, ` ${model.metric.dataset}`)];
}

// Accuracies on different data sets cannot be compared: one at a time.
function tradeOff() {
  const found = models.filter((model) => known(top(model)) && known(model.latency_ms));
  const sets = [...new Set(found.map(setOf))].sort();
  if (!sets.length) return models.length > 0 && h('p', { class: 'note' }, 'No model has both an accuracy and a measured latency to compare.');
  if (!sets.includes(dataset)) dataset = setOf(found[0]);
  const shown = found.filter((model) => setOf(model) === dataset);
  const beaten = (model) => shown.some((other) => other.latency_ms <= model.latency_ms && top(other) >= top(model) && (other.latency_ms < model.latency_ms || top(other) > top(model)));
  plot.update({
    points: shown.map((model) => ({ x: model.latency_ms, y: top(model), name: model.tag.split(':')[0], strong: !beaten(model), href: toModel(model.tag), text: `${model.tag}: ${number(top(model), 4)} % top-1 in ${number(model.latency_ms)} ms` })),
    x: { name: 'latency, ms', larger: false }, y: { name: 'top-1, %', larger: true, most: 100 }, label: `Accuracy against latency on ${dataset}`,
  });
  const choose = (event) => { dataset = event.target.value; draw(); };
  const left = models.length - shown.length;
  return h('section', { class: 'panel', 'aria-labelledby': 'title-trade' },
    h('div', { class: 'row apart' }, h('h2', { id: 'title-trade' }, 'Accuracy against latency'),
      sets.length > 1 ? h('label', null, 'Data set ', h('select', { onchange: choose }, sets.map((set) => h('option', { selected: set === dataset }, set)))) : h('span', { class: 'note' }, dataset)),
    plot.node,
    left > 0 && h('p', { class: 'note' }, `Not in the plot: ${left} of another data set, or not measured.`));
}

const setOf = (model) => model.metric?.dataset ?? 'validation split of its search';
