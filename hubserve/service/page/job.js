// One job: where it is, what it found, and the course of it in charts.
import { accuracy } from './accuracy.js';
import { call } from './api.js';
import { best, curve, figure, probabilities, scatter } from './chart.js';
import { archTable, byId, duration, facts, follow, h, loading, ms, number, percent, table, tagOf, toModel, tryIt } from './dom.js';
import { problem } from './token.js';

const PHASES = ['supernet', 'search', 'retrain', 'test', 'export', 'profile', 'front', 'publish'];
const TUNING = ['fine-tune', 'test', 'export', 'profile', 'publish'];
const TRIALS = 1000;
const FINAL = ['done', 'failed', 'stopped', 'refused'];

export const badge = (state) => h('span', { class: `badge ${state}` }, state);

export class JobView {
  constructor(id) {
    this.id = id;
    this.status = null;
    this.history = [];
    this.moving = true;
    this.charts = new Map();
    this.wrong = h('div');
    this.place = h('div', { class: 'charts' });
    this.small = h('div', { class: 'small' });
    this.oneshot = h('section', { hidden: true }, h('h3', null, 'How likely each candidate is, choice by choice'), this.small);
    this.parts = {
      head: follow(({ name, state }) => this.head(name, state)), course: follow(course), result: follow(result), best: follow(found), refused: follow(refused), compared: follow(compared), accuracy: follow(accuracy), times: follow(times), trials: follow(trials),
    };
    this.table = h('details', { ontoggle: () => this.update() }, h('summary', null, 'All trials as a table'), this.parts.trials.node);
    this.body = h('div', { hidden: true }, this.wrong, this.parts.course.node, this.parts.result.node, this.parts.refused.node, this.parts.compared.node, this.place, this.parts.accuracy.node, this.parts.times.node, this.parts.best.node, this.oneshot, this.table);
    this.wait = loading('the job');
    this.node = h('article', { class: 'panel job' }, this.parts.head.node, this.wait, this.body);
  }

  async refresh() {
    if (this.status && !this.moving) return;
    try {
      this.take(await this.fetch());
    } catch (error) {
      if (error.status !== 404) throw error;
      this.moving = false;
      this.wait.replaceWith(problem(error));
    }
  }

  // The status, and those trials that are new or had not ended yet; an answer has at most TRIALS of them.
  async fetch() {
    const running = this.history.findIndex((trial) => trial.state === 'running');
    const history = this.history.slice(0, running < 0 ? undefined : running);
    let status;
    do {
      const after = history.at(-1)?.number ?? -1;
      status = await call(`jobs/${encodeURIComponent(this.id)}?limit=${TRIALS}&after=${after}`, { what: 'single searches' });
      history.push(...status.history);
    } while (status.history.length === TRIALS);
    this.history = history;
    return { ...status, history };
  }

  take(status) {
    const before = this.status;
    this.status = status;
    this.moving = !FINAL.includes(status.state);
    this.wait.remove();
    this.body.hidden = false;
    if (before && before.state + before.phase !== status.state + status.phase) byId('said').textContent = `${status.name}: ${status.state} ${status.phase ?? ''}`;
    this.update();
  }

  update() {
    const { status } = this;
    if (!status) return;
    const { name, state, best: winner, history, objectives, oneshot, pareto, updated, ...rest } = status;
    this.parts.head.update({ name, state });
    this.parts.course.update({ state, ...rest, oneshot: Boolean(oneshot) });
    this.parts.result.update(rest);
    this.parts.best.update(winner);
    this.parts.refused.update({ rows: status.refusals ?? [], closest: status.closest, ended: FINAL.includes(state) });
    this.parts.accuracy.update(status.accuracy);
    this.parts.times.update({ times: status.times ?? [], estimated: status.estimated_seconds, seconds: FINAL.includes(state) ? status.seconds : null });
    this.drawEpochs(status.epochs ?? []);
    this.table.hidden = !history.length;
    if (this.table.open) this.parts.trials.update({ history, objectives });
    this.parts.compared.update({ rows: status.compared ?? [], published: status.published });
    this.drawCompared(status.compared ?? [], status.published);
    this.drawCharts(status);
    this.drawOneShot(oneshot);
  }

  head(name, state) {
    const stop = h('button', { type: 'button', onclick: (event) => this.stop(event.target) }, 'Stop');
    return h('div', { class: 'row apart' }, h('h2', null, name, ' ', badge(state)), !FINAL.includes(state) && state !== 'stopping' && stop);
  }

  async stop(button) {
    button.disabled = true;
    this.wrong.replaceChildren();
    try {
      await call(`jobs/${encodeURIComponent(this.id)}`, { method: 'DELETE', what: 'stopping searches' });
      await this.refresh();
    } catch (error) {
      this.wrong.replaceChildren(problem(error));
    }
    button.disabled = false;
  }

  // The chart of that name, made when first asked for.
  chart(name, caption, draw, place) {
    if (!this.charts.has(name)) {
      this.charts.set(name, figure(caption, draw));
      place.append(this.charts.get(name).node);
    }
    return this.charts.get(name);
  }

  drawCharts({ objectives, history, pareto, max_trials: most }) {
    const [goal, ...others] = objectives;
    const ended = history.filter((trial) => goal && Number.isFinite(trial.values[goal.name]));
    if (!ended.length) return;
    const larger = goal.direction === 'maximize';
    this.chart('best', 'Best so far', best, this.place).update({
      name: goal.name, larger, most, label: `${goal.name} of ${ended.length} trials`,
      trials: ended.map((trial) => ({ number: trial.number, value: trial.values[goal.name] })),
    });
    for (const other of others) {
      const both = ended.filter((trial) => Number.isFinite(trial.values[other.name]));
      if (!both.length) continue;
      this.chart(`pareto ${other.name}`, `${goal.name} against ${other.name}`, scatter, this.place).update({
        points: both.map((trial) => ({ x: trial.values[other.name], y: trial.values[goal.name], strong: pareto.includes(trial.number), text: `trial ${trial.number}: ${number(trial.values[goal.name], 4)}, ${number(trial.values[other.name], 4)}` })),
        x: { name: other.name, larger: other.direction === 'maximize' }, y: { name: goal.name, larger }, label: `${goal.name} against ${other.name}`,
      });
    }
  }

  // The networks that were found, their front joined by a line, and those made by hand.
  drawCompared(rows, winner) {
    const points = rows.map((row) => ({ ...row, published: row.kind === 'winner' ? winner : row.published, y: row.test_acc ?? row.val_acc, x: row.latency_ms })).filter(({ x, y }) => Number.isFinite(x) && Number.isFinite(y));
    if (points.length < 2) return;
    const name = points.every((point) => Number.isFinite(point.test_acc)) ? 'test accuracy' : 'accuracy';
    this.chart('compared', 'What was found, and networks made by hand', scatter, this.place).update({
      points: points.map(({ x, y, kind, name: title, published }) => ({ x, y, name: title, strong: kind !== 'baseline', href: published ? toModel(published) : undefined, text: `${title}${kind === 'baseline' ? ', made by hand' : ''}: ${percent(y)}, ${ms(x)}` })),
      x: { name: 'measured latency (ms)', larger: false }, y: { name, larger: true, most: 1 }, label: `${name} against measured latency of ${points.length} networks`,
    });
  }

  drawEpochs(epochs) {
    for (const [key, name, most] of [['val_acc', 'validation accuracy', 1], ['val_loss', 'validation loss']]) {
      const points = epochs.filter((row) => Number.isFinite(row[key])).map((row) => ({ x: row.epoch, y: row[key] }));
      if (points.length) this.chart(key, `${name[0].toUpperCase()}${name.slice(1)}`, curve, this.place).update({ points, name, most, label: `${name} of ${points.length} epochs` });
    }
  }

  drawOneShot(oneshot) {
    const labels = Object.entries(oneshot?.labels ?? {}).filter(([, { probabilities: rows }]) => rows.length);
    this.oneshot.hidden = !labels.length;
    for (const [label, { candidates, probabilities: rows }] of labels) {
      const now = rows.at(-1);
      const lead = now.indexOf(Math.max(...now));
      const name = `oneshot ${label}`;
      const chart = this.chart(name, [h('span', { class: 'label' }, label), h('span')], probabilities, this.small);
      const text = `${candidates[lead]} ${number(now[lead], 2)}`;
      chart.node.querySelector('span + span').textContent = text;
      chart.update({ candidates, rows, lead, label: `${label}: ${text}` });
    }
  }
}

function course({ state, phase, message, trials: done, max_trials: most, seconds, eta_seconds: eta, oneshot, epochs, compared: { length: many } = [] }) {
  const phases = phase === 'fine-tune' || epochs?.length ? TUNING : PHASES.filter((name) => (name !== 'supernet' || oneshot || phase === 'supernet') && (name !== 'front' || many || phase === 'front'));
  const at = state === 'done' ? phases.length : phases.indexOf(phase);
  const time = [seconds > 0 && `${duration(seconds)} ${FINAL.includes(state) ? 'in all' : 'so far'}`, eta > 0 && `about ${duration(eta)} more for this step`].filter(Boolean).join(', ');
  return [
    h('ol', { class: 'steps', 'aria-label': 'Steps' }, phases.map((name, place) => h('li', { class: place < at ? 'past' : place === at ? 'now' : null, 'aria-current': place === at ? 'step' : null }, name))),
    most > 0 && h('div', { class: 'row' }, h('progress', { value: Math.min(done, most), max: most, 'aria-label': 'Trials' }), h('span', { class: 'note' }, `${done} of ${most} trials`)),
    h('p', { class: 'message' }, message, time && h('span', { class: 'note' }, ` · ${time}`)),
  ];
}

function result({ published, error, test_acc: share }) {
  return [
    published && h('div', { class: 'row good' }, h('span', null, 'Published as ', h('a', { href: toModel(published) }, tagOf(published)), Number.isFinite(share) && `, test accuracy ${percent(share)}`), tryIt(published)),
    error && h('div', { class: 'problem' }, h('p', null, error)),
  ];
}

// How long each part was expected to take, and took.
function times({ times: rows, estimated, seconds }) {
  if (!Number.isFinite(estimated)) return null;
  const cell = (value) => h('td', { class: 'number' }, Number.isFinite(value) ? value < 9.95 ? `${value.toFixed(1)} s` : duration(value) : '–');
  const line = (name, one, other) => h('tr', null, h('th', { scope: 'row' }, name), cell(one), cell(other));
  return [
    h('h3', null, 'Time'),
    table('Time', ['Part', '#Estimated', '#Took'], [...rows.map((row) => line(row.part === 'features' ? 'features, part of fine-tune' : row.part, row.estimated, row.seconds)), line('in all', estimated, seconds)]),
  ];
}

function found(winner) {
  if (!winner) return null;
  return [
    h('h3', null, winner.number === null ? 'Best arch' : `Best arch: trial ${winner.number}`),
    facts(Object.entries(winner.values).map(([name, value]) => [name, number(value, 5)])),
    archTable(winner.arch, 'Its'),
  ];
}

// The winner, the other published members of the front, and the networks made by hand.
function compared({ rows, published }) {
  if (rows.length < 2) return null;
  const cell = (value, text) => h('td', { class: 'number' }, Number.isFinite(value) ? text(value) : '–');
  const kinds = { winner: 'chosen', front: 'Pareto front', baseline: 'made by hand' };
  return [
    h('h3', null, 'What was found, and networks made by hand'),
    table('Compared networks', ['Network', 'Kind', '#Validation', '#Test', '#Latency', '#Parameters', '#MACs'], rows.map((row) => {
      const tag = row.kind === 'winner' ? published : row.published;
      return h('tr', null, h('th', { scope: 'row' }, tag ? h('a', { href: toModel(tag) }, tagOf(tag)) : row.name), h('td', null, kinds[row.kind]),
        cell(row.val_acc, percent), cell(row.test_acc, percent), cell(row.latency_ms, ms), cell(row.params, number), cell(row.macs, number));
    })),
  ];
}

// What each constraint refused and by how much; the arch that came closest where none met them.
function refused({ rows, closest, ended }) {
  if (!rows.length) return null;
  const share = (value) => h('td', { class: 'number' }, Number.isFinite(value) ? percent(value) : '–');
  return [
    closest && h('div', { class: 'problem' }, h('p', null, `No arch meets the constraints${ended ? '' : ' yet'}. The closest is that of trial ${closest.number}: ${closest.reason}`), archTable(closest.arch, 'Its')),
    h('h3', null, 'Refused by the constraints'),
    table('Refused by the constraints', ['Constraint', '#Refused', '#Of', '#By at least', '#Median', '#At most'], rows.map((row) => h('tr', null,
      h('th', { scope: 'row' }, row.constraint), h('td', { class: 'number' }, row.refused), h('td', { class: 'number' }, row.checked), share(row.least), share(row.median), share(row.most)))),
  ];
}

function trials({ history, objectives }) {
  const names = objectives.map((objective) => objective.name);
  return table('Trials', ['Trial', ...names.map((name) => `#${name}`), 'State', '#Seconds'], [...history].reverse().map((trial) => h('tr', null, h('th', { scope: 'row' }, trial.number),
    names.map((name) => h('td', { class: 'number' }, number(trial.values[name], 5))), h('td', { class: 'long' }, trial.state, trial.reason && `: ${trial.reason}`), h('td', { class: 'number' }, number(trial.seconds)))));
}
