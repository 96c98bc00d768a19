// The test accuracy of a job: with its interval, by class, as a confusion matrix, and the worst images or texts.
import { h, number, percent, s, table } from './dom.js';

export function accuracy(report) {
  if (!report) return null;
  const [low, high] = report.top1_interval;
  const one = report.items === 'texts' ? 'text' : 'image';
  const One = one === 'text' ? 'Text' : 'Image';
  const share = (value) => h('td', { class: 'number' }, Number.isFinite(value) ? percent(value) : '–');
  return [
    h('h3', null, `Test accuracy ${percent(report.top1)}`),
    h('p', { class: 'note' }, `95 % interval ${percent(low)} to ${percent(high)}, of ${number(report.images)} ${one}s. Calibration error ${number(report.calibration_error, 2)}`,
      Number.isFinite(report.temperature) ? ` with temperature ${number(report.temperature)}, ${number(report.unscaled_calibration_error, 2)} without.` : '.', report.notes.map((note) => ` ${note[0].toUpperCase()}${note.slice(1)}.`)),
    table('Accuracy by class', ['Class', `#${One}s`, '#Precision', '#Recall'], report.classes.map((each) => h('tr', null,
      h('th', { scope: 'row' }, each.label), h('td', { class: 'number' }, each.images), share(each.precision), share(each.recall)))),
    report.confusion && [h('h3', null, 'True class (rows) and given class (columns)'), matrix(report.confusion, report.classes.map((one) => one.label))],
    report.worst.length > 0 && [h('h3', null, 'Wrong, and most sure of it'), table(`Worst ${one}s`, [One, 'True', 'Given', '#Probability'], report.worst.map((each) => h('tr', null,
      h('td', { class: 'long' }, each.file), h('td', null, each.label), h('td', null, each.predicted), share(each.probability))))],
  ].flat();
}

function matrix(rows, labels) {
  const cell = rows.length > 20 ? 14 : 34;
  const size = cell * rows.length;
  const name = (at) => labels[at].length > 20 ? `${labels[at].slice(0, 19)}…` : labels[at];
  // As wide as the longest name may be.
  const left = 16 + 7.5 * Math.max(...labels.map((_, at) => name(at).length));
  const named = cell > 20 ? left : 0;
  return h('div', { class: 'scroll matrix', tabindex: 0, role: 'region', 'aria-label': 'Confusion matrix' }, s('svg', { width: size + left, height: size + named, role: 'img', 'aria-label': 'Confusion matrix' },
    rows.map((row, y) => {
      const sum = Math.max(1, row.reduce((a, b) => a + b, 0));
      return s('g', null, s('text', { x: left - 8, y: (y + 0.5) * cell + 4, 'text-anchor': 'end' }, name(y)), row.map((count, x) => s('g', null,
        s('rect', { class: 'strong', x: left + x * cell, y: y * cell, width: cell - 1, height: cell - 1, 'fill-opacity': 0.06 + 0.5 * (count / sum) }),
        s('title', null, `${labels[y]}, given ${labels[x]}: ${count}`),
        cell > 20 && count > 0 && s('text', { class: 'tag', x: left + (x + 0.5) * cell, y: (y + 0.5) * cell + 4, 'text-anchor': 'middle' }, count))));
    }),
    named > 0 && labels.map((_, x) => s('text', { 'text-anchor': 'end', transform: `translate(${left + (x + 0.5) * cell + 4} ${size + 8}) rotate(-90)` }, name(x)))));
}
