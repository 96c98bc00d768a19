// Classify: an image in, its bytes as they are to the server, the answer as bars; or a text, for a model that takes texts.
import { NotOffered, call, post } from './api.js';
import { closeCamera, openCamera, shoot } from './camera.js';
import { bars, byId, h, ms, percent, tagOf, toModel } from './dom.js';
import { problem } from './token.js';

let image = null;
let running = null;
let address = '';
let asked = '';
let classes = new Map();
let local = new Map();
let takes = new Map();

const takesText = () => takes.get(byId('model').value) === 'texts';

export function init() {
  const drop = byId('drop');
  byId('choose').addEventListener('click', () => byId('file').click());
  byId('file').addEventListener('change', (event) => {
    take(event.target.files);
    event.target.value = ''; // The same file may be chosen again.
  });
  byId('model').addEventListener('change', () => { choose(); classify(); });
  byId('classify-text').addEventListener('click', classify);
  byId('top-k').addEventListener('change', classify);
  byId('camera-start').addEventListener('click', () => openCamera().then(clearPreview, fail));
  byId('camera-stop').addEventListener('click', closeCamera);
  byId('camera-shoot').addEventListener('click', async () => {
    const frame = await shoot();
    closeCamera();
    use(frame);
  });
  addEventListener('paste', (event) => {
    if (event.clipboardData.files.length && !takesText()) take(event.clipboardData.files);
  });
  // An image that misses the frame must not replace the page.
  addEventListener('dragover', (event) => { event.preventDefault(); drop.classList.add('over'); });
  addEventListener('dragleave', (event) => { if (!event.relatedTarget) drop.classList.remove('over'); });
  addEventListener('drop', (event) => {
    if (takesText() && !event.dataTransfer.files.length) return; // Words that are dragged into the text.
    event.preventDefault();
    drop.classList.remove('over');
    if (!takesText()) take(event.dataTransfer.files);
  });
}

export async function show(tag) {
  writeCurl();
  try {
    listModels(await call('models', { what: 'a list of models' }), tag);
  } catch (error) {
    if (!image && !(error instanceof NotOffered)) fail(error);
  }
}

export function hide() {
  asked = '';
  closeCamera();
}

function listModels(found, tag) {
  const models = found.filter((model) => model.takes !== 'tensors');
  const choice = byId('model');
  // The address names a model once; after that the visitor's choice counts.
  const fresh = tag && tag !== asked;
  asked = tag;
  const wanted = fresh ? tag : choice.value;
  const option = (value, text) => h('option', { value, selected: value === wanted }, text);
  const initial = models.find((model) => model.default);
  classes = new Map([['', initial?.classes], ...models.map((model) => [model.tag, model.classes])]);
  takes = new Map([['', initial?.takes], ...models.map((model) => [model.tag, model.takes])]);
  local = new Map([['', initial?.in_browser && initial.tag], ...models.map((model) => [model.tag, model.in_browser && model.tag])]);
  choice.replaceChildren(
    option('', initial ? `${initial.tag} (the default)` : models.length ? 'the server’s default' : 'no model is published yet'),
    ...models.filter((model) => model !== initial || model.tag === wanted).map((model) => option(model.tag, `${model.tag} · ${model.classes} classes`)),
  );
  choose();
  writeCurl();
  if (fresh && image) classify();
}

// What the model takes is what the visitor gives.
function choose() {
  const text = takesText();
  if (byId('text-input').hidden === text) byId('answer').replaceChildren(h('p', { class: 'empty' }, 'The most likely classes appear here.'));
  byId('text-input').hidden = !text;
  byId('image-input').hidden = text;
  byId('question').textContent = text ? 'What does the text say?' : 'What is in the image?';
  if (text) closeCamera();
  offerBrowser();
}

// For models that this browser can run by itself, where the server has what that takes.
function offerBrowser() {
  const tag = local.get(byId('model').value);
  byId('in-browser').hidden = !tag;
  if (tag) byId('in-browser').href = `page/in-browser?model=${encodeURIComponent(tag)}`;
}

function take(files) {
  if (!files.length) return;
  location.hash = '#classify';
  closeCamera();
  use(files[0]);
}

function use(blob) {
  image = blob;
  if (address) URL.revokeObjectURL(address);
  address = URL.createObjectURL(blob);
  const preview = byId('preview');
  preview.onload = () => { preview.hidden = false; byId('drop-hint').hidden = true; };
  // The server reads kinds of image that browsers do not show.
  preview.onerror = () => { clearPreview(); byId('drop-hint').textContent = `${blob.name ?? 'This file'} cannot be shown here.`; };
  preview.src = address;
  classify();
}

function clearPreview() {
  byId('preview').hidden = true;
  byId('drop-hint').hidden = false;
}

function query() {
  const parameters = new URLSearchParams();
  if (byId('model').value) parameters.set('model', byId('model').value);
  // A model may have fewer classes than are asked for where the visitor chose no number.
  const { value, defaultValue } = byId('top-k');
  const most = classes.get(byId('model').value);
  if (value) parameters.set('top_k', value === defaultValue && most < value ? most : value);
  return parameters.size ? `?${parameters}` : '';
}

async function classify() {
  writeCurl();
  running?.abort();
  if (takesText() ? !byId('text').value.trim() : !image) return;
  const mine = running = new AbortController();
  byId('answer').setAttribute('aria-busy', 'true');
  const start = performance.now();
  try {
    draw(await ask(mine.signal), performance.now() - start);
  } catch (error) {
    if (error.name !== 'AbortError') fail(error);
  }
  if (running === mine) byId('answer').removeAttribute('aria-busy');
}

function ask(signal) {
  const what = 'classification';
  if (takesText()) return post(`classify-text${query()}`, { text: byId('text').value }, what, signal);
  return call(`classify${query()}`, { method: 'POST', body: image, type: image.type || 'application/octet-stream', signal, what });
}

function draw(answer, roundTrip) {
  const best = answer.predictions[0];
  const { decode, tokenize, infer } = answer.timing_ms;
  byId('said').textContent = `${best.label}, ${percent(best.probability)}, and ${answer.predictions.length - 1} more.`;
  byId('answer').replaceChildren(
    bars(answer.predictions),
    h('p', { class: 'note' }, h('a', { href: toModel(answer.model) }, tagOf(answer.model)), h('br'),
      `${takesText() ? `tokens ${ms(tokenize)}` : `decode ${ms(decode)}`} · inference ${ms(infer)} · round trip ${ms(roundTrip)}`),
  );
}

function fail(error) {
  byId('said').textContent = '';
  byId('answer').replaceChildren(problem(error));
}

function writeCurl() {
  const base = new URL(takesText() ? 'classify-text' : 'classify', document.baseURI);
  const given = takesText() ? '--json \'{"text": "..."}\'' : '--data-binary @photo.jpg';
  byId('curl').textContent = `curl ${given} '${base.origin}${base.pathname}${query()}'`;
}
