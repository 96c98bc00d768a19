// Charts in SVG: a scatter with its front, values over trials with the best so far, and small multiples of lines.
import { h, number, s } from './dom.js';

const PAD = { left: 48, right: 14, top: 30, bottom: 38 };

// A drawing as wide as its place: drawn anew when the width or the data changes, and only then.
export function figure(caption, draw) {
  const place = h('div', { class: 'plot' });
  let width = 0;
  let data = null;
  let key = '';
  const redraw = () => { if (width && data !== null) place.replaceChildren(draw(data, width)); };
  new ResizeObserver(([entry]) => {
    const now = Math.floor(entry.contentRect.width);
    if (now === width) return;
    width = now;
    redraw();
  }).observe(place);
  return {
    node: h('figure', null, caption && h('figcaption', null, caption), place),
    update(value) {
      const now = JSON.stringify(value);
      if (now === key) return;
      [key, data] = [now, value];
      redraw();
    },
  };
}

// About `count` round numbers from `low` to `high`.
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= 0.7 * rough) * power;
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

// The span of values with a margin on both sides, up to `most`.
function span(values, margin = 0.08, most = Infinity) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const spare = (high - low) * margin || Math.abs(high) * 0.1 || 1;
  return [low - spare, Math.min(high + spare, most)];
}

const heightFor = (width) => Math.round(Math.min(380, Math.max(230, width * 0.5)));

function frame(width, height, { xs, ys, x, y, label, role = 'img' }) {
  const right = width - PAD.right;
  const bottom = height - PAD.bottom;
  const px = (value) => PAD.left + ((value - xs[0]) / (xs[1] - xs[0])) * (right - PAD.left);
  const py = (value) => bottom - ((value - ys[0]) / (ys[1] - ys[0])) * (bottom - PAD.top);
  const svg = s('svg', { width, height, viewBox: `0 0 ${width} ${height}`, role, 'aria-label': label },
    ticks(...ys, (height - 68) / 42).map((value) => [
      s('line', { class: 'grid', x1: PAD.left, x2: right, y1: py(value), y2: py(value) }),
      s('text', { x: PAD.left - 7, y: py(value) + 4, 'text-anchor': 'end' }, number(value, 4)),
    ]),
    ticks(...xs, width / 100).map((value) => s('text', { x: px(value), y: bottom + 16, 'text-anchor': 'middle' }, number(value, 4))),
    s('line', { class: 'axis', x1: PAD.left, x2: right, y1: bottom, y2: bottom }),
    s('text', { x: right, y: height - 4, 'text-anchor': 'end' }, x),
    s('text', { x: 0, y: 13 }, y));
  return { svg, px, py, right };
}

// Points {x, y, text, href, strong}, the strong ones joined as a front; `x` and `y` are {name, larger}: which way is better.
export function scatter({ points, x, y, label }, width) {
  const height = heightFor(width);
  const title = (axis) => `${axis.name}, ${axis.larger ? 'larger' : 'smaller'} is better`;
  const linked = points.some((point) => point.href);
  const { svg, px, py, right } = frame(width, height, {
    xs: span(points.map((point) => point.x)), ys: span(points.map((point) => point.y), 0.14, y.most), x: title(x), y: title(y), label, role: linked ? 'group' : 'img',
  });
  const front = points.filter((point) => point.strong).sort((a, b) => a.x - b.x);
  if (front.length > 1) svg.append(s('path', { class: 'front', d: stairs(front.map((point) => [px(point.x), py(point.y)]), x.larger) }));
  const taken = points.map((point) => [px(point.x) - 5, py(point.y) - 5, px(point.x) + 5, py(point.y) + 5]);
  for (const point of points.toSorted((a, b) => Boolean(b.strong) - Boolean(a.strong))) {
    const at = [px(point.x), py(point.y)];
    const name = point.name && labelAt(at, point.name, taken, right);
    const mark = [s('circle', { cx: at[0], cy: at[1], r: linked ? 6 : 4, class: point.strong ? 'strong' : 'weak' }), s('title', null, point.text), name];
    svg.append(point.href ? s('a', { href: point.href, 'aria-label': point.text }, mark) : s('g', null, mark));
  }
  return svg;
}

// Where a name fits beside its point: to the right, left, above or below, or nowhere.
function labelAt([x, y], name, taken, right) {
  const wide = 6.6 * name.length;
  for (const [dx, dy, anchor] of [[10, 4, 'start'], [-10, 4, 'end'], [0, -11, 'middle'], [0, 20, 'middle']]) {
    const left = x + dx - { start: 0, end: wide, middle: wide / 2 }[anchor];
    const box = [left, y + dy - 11, left + wide, y + dy + 3];
    if (box[0] < PAD.left || box[2] > right + PAD.right || taken.some((other) => overlap(box, other))) continue;
    taken.push(box);
    return s('text', { class: 'tag', x: x + dx, y: y + dy, 'text-anchor': anchor }, name);
  }
  return null;
}

const overlap = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];

// A front as stairs: between two of its points, the worse of the first axis with the worse of the second.
const stairs = (places, larger) => places.map(([x, y], i) => (i === 0 ? `M${x} ${y}` : larger ? `V${y}H${x}` : `H${x}V${y}`)).join('');

// One dot a trial, and the best so far as stairs. `trials` are {number, value}, in order.
export function best({ trials, name, larger, label, most }, width) {
  const height = heightFor(width);
  const last = trials.at(-1).number;
  const { svg, px, py } = frame(width, height, {
    xs: [0, Math.max(most ?? 0, last + 1, 2)], ys: span(trials.map((trial) => trial.value)), x: 'trial', y: name, label,
  });
  const tops = [];
  for (const trial of trials) {
    if (!tops.length || (larger ? trial.value > tops.at(-1).value : trial.value < tops.at(-1).value)) tops.push(trial);
  }
  svg.append(s('path', { class: 'front', d: `${stairs(tops.map((trial) => [px(trial.number), py(trial.value)]), false)}H${px(last)}` }));
  for (const trial of trials) {
    svg.append(s('circle', { cx: px(trial.number), cy: py(trial.value), r: 3, class: tops.includes(trial) ? 'strong' : 'weak' }, s('title', null, `trial ${trial.number}: ${number(trial.value, 5)}`)));
  }
  return svg;
}

// Candidates of one choice over time: `rows` of one probability a candidate. The likeliest one stands out.
export function probabilities({ candidates, rows, lead, label }, width) {
  const height = 72;
  const most = Math.max(0.01, ...rows.flat());
  const px = (step) => 2 + (step / Math.max(1, rows.length - 1)) * (width - 4);
  const py = (share) => height - 3 - (share / most) * (height - 6);
  const line = (candidate) => rows.map((row, step) => `${step ? 'L' : 'M'}${px(step).toFixed(1)} ${py(row[candidate]).toFixed(1)}`).join('');
  const order = candidates.map((_, i) => i).sort((a, b) => (a === lead) - (b === lead));
  return s('svg', { width, height, viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label },
    s('line', { class: 'axis', x1: 0, x2: width, y1: height - 1, y2: height - 1 }),
    order.map((i) => s('path', { class: i === lead ? 'lead' : 'other', d: line(i) }, s('title', null, `${candidates[i]}: ${number(rows.at(-1)[i])}`))));
}

// One line over the epochs of a training. `points` are {x, y}; the axis of y ends at `most`, if it is given.
export function curve({ points, name, label, most }, width) {
  const { svg, px, py } = frame(width, heightFor(width), {
    xs: [0, Math.max(1, points.at(-1).x)], ys: span(points.map((point) => point.y), 0.08, most), x: 'epoch', y: name, label,
  });
  svg.append(s('path', { class: 'front', d: points.map(({ x, y }, i) => `${i ? 'L' : 'M'}${px(x)} ${py(y)}`).join('') }));
  for (const { x, y } of points) svg.append(s('circle', { cx: px(x), cy: py(y), r: 3, class: 'strong' }, s('title', null, `epoch ${x}: ${number(y, 4)}`)));
  return svg;
}
