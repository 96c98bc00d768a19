// One model: its card, the drawing of its arch, and its latency profile.
import { accuracy } from './accuracy.js';
import { NotOffered, call } from './api.js';
import { archTable, byId, facts, h, loading, millions, ms, number, outside, plain, table, tagOf, tryIt } from './dom.js';
import { problem } from './token.js';

let shown = '';
let drawing = '';

// What was refused without a token may be had with one.
document.addEventListener('token', () => { shown = ''; });

export async function showModel(tag) {
  const place = byId('model-detail');
  if (tag === shown && place.childElementCount && tag) return;
  shown = tag;
  place.replaceChildren();
  if (!tag) return;
  const card = h('div', null, loading('the card'));
  const drawn = h('div', null, loading('the drawing'));
  const profile = h('div', null, loading('the profile'));
  const tested = h('div');
  const title = h('h2', { id: 'title-model', tabindex: -1 }, tagOf(tag));
  const tried = tryIt(tag);
  place.replaceChildren(h('article', { class: 'panel', 'aria-labelledby': 'title-model' },
    h('div', { class: 'row apart' }, title, tried),
    card, tested, h('h3', null, 'Arch'), drawn, h('h3', null, 'Latency'), profile));
  title.focus({ preventScroll: true });
  place.scrollIntoView({ block: 'start', behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth' });
  const base = `models/${encodeURIComponent(tag)}`;
  await Promise.all([
    fillIn(card, tag, () => call(`${base}/card`, { what: 'cards of models' }).then((answer) => { if (answer.takes === 'tensors') tried.remove(); return drawCard(answer, tag); })),
    fillIn(drawn, tag, () => call(`${base}/drawing.svg`, { as: 'blob', what: 'drawings of archs' }).then((blob) => drawArch(blob, tag))),
    fillIn(profile, tag, () => call(`${base}/profile`, { what: 'profiles of models' }).then(drawProfile)),
    // A model without a test part has nothing to say here.
    fillIn(tested, tag, () => call(`${base}/accuracy`, { what: 'test accuracies' }).then(accuracy, (error) => { if (error.status === 404) return []; throw error; })),
  ]);
}

// Each part comes, or says why it does not, by itself; a part of a model that is no longer shown is dropped.
async function fillIn(place, tag, part) {
  let content;
  try {
    content = await part();
  } catch (error) {
    const quiet = error instanceof NotOffered || error.status === 404;
    content = quiet ? h('p', { class: 'empty' }, error.message) : problem(error);
  }
  if (shown === tag) place.replaceChildren(...[content].flat().filter(Boolean));
}

// "ids (int64: batch × length), mask (int64: batch × length)".
const tensors = (entries) => entries.map((one) => `${one.name} (${one.dtype}: ${one.shape.join(' × ')})`).join(', ');

function drawCard(answer, tag) {
  const card = answer.manifest ?? answer;
  const from = answer.provenance ?? card.provenance ?? {};
  const { metric, search } = from;
  return [
    facts([
      ['Space', card.space],
      ['Settings', plain(card.settings)],
      ['Classes', card.outputs?.[0].meaning === 'logits' && number(card.outputs[0].shape.at(-1))],
      ...(card.preprocess || !card.inputs ? [] : [
        ['Takes', tensors(card.inputs)],
        ['Answers', tensors(card.outputs)],
        ['Served at', `POST /v2/models/${tag.split(':')[0]}/infer, by tensors`],
      ]),
      ['Accuracy', metric && `${number(metric.top1, 4)} % top-1${metric.top5 ? `, ${number(metric.top5, 4)} % top-5` : ''} on ${metric.dataset}`],
      ['Parameters', millions(answer.params) && `${millions(answer.params)} M`],
      ['Multiply-adds', millions(answer.macs) && `${millions(answer.macs)} M`],
      ['Weights', from.weights],
      ['Found by', search && Object.keys(search).length ? plain(search) : null],
      ['Paper', from.paper && outside(from.paper)],
      ['Licence', from.licence],
      ['Preprocessing', card.preprocess && plain(card.preprocess)],
      ['Formats', card.exports && Object.keys(card.exports).join(', ')],
      ['Made with', card.versions && plain(card.versions)],
    ]),
    archTable(card.arch, 'The arch’s'),
  ].filter(Boolean);
}

// As an image, in which no script of a drawing runs.
function drawArch(blob, tag) {
  URL.revokeObjectURL(drawing);
  drawing = URL.createObjectURL(blob);
  return h('div', { class: 'scroll drawing', tabindex: 0, role: 'region', 'aria-label': `Drawing of the arch of ${tag}` }, h('img', { src: drawing, alt: `The arch of ${tag}, block by block` }));
}

function drawProfile(profile) {
  const at = (format, percent) => format.percentiles?.find((entry) => entry.percent === percent);
  const time = (entry) => entry?.value != null ? ms(entry.value) : entry?.needs ? `needs ${number(entry.needs)} samples` : '–';
  const { host } = profile;
  return [
    table('Latency by format', ['Format', '#Batch', '#Median', '#90 %', '#99 %', profile.preprocess ? '#Images/s' : '#Rows/s', '#Samples', 'Verdict'],
      (profile.formats ?? []).map((format) => h('tr', null, h('th', { scope: 'row' }, format.format, format.device === 'cuda' && ' on CUDA'),
        [format.batch_size, time(at(format, 50)), time(at(format, 90)), time(at(format, 99)), number(format.images_per_second), format.n].map((cell) => h('td', { class: 'number' }, cell)),
        h('td', null, format.verdict)))),
    host && h('p', { class: 'note' }, [host.cpu, `${host.cores} cores`, host.gpu, host.system, host.load_before > 0.5 && `load ${host.load_before} before the measurement`].filter(Boolean).join(' · ')),
  ].filter(Boolean);
}
