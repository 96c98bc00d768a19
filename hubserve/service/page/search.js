// Search: the jobs of the server, live while the page is seen; start one, watch one.
import { NotOffered, call, post } from './api.js';
import { byId, follow, h, minute, number, percent, table, toJob } from './dom.js';
import { listStarts } from './finetune.js';
import { JobView, badge } from './job.js';
import { problem } from './token.js';

const SECOND = 1000;
const SLOW = 5 * SECOND;
const PAGE = 50;
const MOST = 200;

let timer = 0;
let turn = 0;
let view = null;
let offered = null;
let most = PAGE;

const jobs = follow(drawJobs);

export function init() {
  byId('search-jobs').append(jobs.node);
}

export function show(id) {
  if (view && view.id !== id) view = null;
  if (!view) byId('search-job').replaceChildren();
  if (id && !view) {
    view = new JobView(id);
    byId('search-job').replaceChildren(view.node);
  }
  if (!offered) listOffered();
  if (!byId('finetune-start').firstChild) listStarts(byId('finetune-start'));
  poll(++turn, 0);
}

export function hide() {
  turn += 1;
  clearTimeout(timer);
}

// Once a second while a job moves, slower while nothing does or the server is in trouble, never while the page is hidden.
async function poll(mine, tick) {
  clearTimeout(timer);
  let pause = SECOND;
  try {
    // The list changes less than the job that is watched.
    if (tick % 3 === 0 || !view?.moving) jobs.update((await call(`jobs?limit=${most}`, { what: 'searches' })).map(summary));
    if (view) await view.refresh();
    if (!view?.moving) pause = 3 * SECOND;
  } catch (error) {
    jobs.update(error);
    if (error instanceof NotOffered) return;
    pause = SLOW;
  }
  if (mine === turn && !document.hidden) timer = setTimeout(poll, pause, mine, tick + 1);
}

// What the list shows of a job.
const summary = ({ id, name, state, phase, message, created, trials, max_trials: most, objectives, best, test_acc: accuracy, published }) => ({ id, name, state, phase, message, created, trials, most, goal: objectives[0]?.name, best: best?.values[objectives[0]?.name], accuracy, published });

function drawJobs(list) {
  if (list instanceof Error) return problem(list);
  if (!list.length) return h('p', { class: 'empty' }, 'No job has run here yet.');
  const shown = table('Searches', ['Job', 'State', '#Trials', '#Best', 'Started', 'Now'], list.map((job) => h('tr', null,
    h('th', { scope: 'row' }, h('a', { href: toJob(job.id) }, job.name)),
    h('td', null, badge(job.state)),
    h('td', { class: 'number' }, job.most ? `${job.trials} / ${job.most}` : job.trials || '–'),
    h('td', { class: 'number' }, Number.isFinite(job.best) ? [number(job.best, 4), h('span', { class: 'version' }, ` ${job.goal}`)] : Number.isFinite(job.accuracy) ? [percent(job.accuracy), h('span', { class: 'version' }, ' of the test')] : '–'),
    h('td', null, minute(job.created)),
    h('td', { class: 'long' }, job.published ? `published ${job.published}` : job.message || job.phase))));
  return [shown, list.length === most && most < MOST && h('button', { type: 'button', onclick: more }, 'Show older ones')];
}

function more() {
  most = Math.min(MOST, most + PAGE);
  poll(++turn, 0);
}

async function listOffered() {
  const place = byId('search-start');
  try {
    offered = await call('jobs/available', { what: 'job files to start' });
  } catch {
    return; // The list of jobs says what is wrong.
  }
  if (!offered.length) return;
  const choice = h('select', { id: 'offered', onchange: explain }, offered.map((job) => h('option', { value: job.name }, job.name)));
  const said = h('p', { class: 'note' });
  const wrong = h('div');
  function explain() {
    said.textContent = offered.find((job) => job.name === choice.value)?.summary ?? '';
  }
  place.replaceChildren(h('div', { class: 'panel' }, h('div', { class: 'row fields' },
    h('label', { class: 'grow' }, 'Start a search', choice),
    h('button', { type: 'button', class: 'primary', id: 'start', onclick: () => start(choice.value, wrong) }, 'Start')), said, wrong));
  explain();
}

async function start(name, wrong) {
  wrong.replaceChildren();
  byId('start').disabled = true;
  try {
    const { id } = await post('jobs', { job: name }, 'starting searches');
    byId('said').textContent = `${name} was started.`;
    location.hash = toJob(id);
  } catch (error) {
    wrong.replaceChildren(problem(error));
  }
  byId('start').disabled = false;
}
