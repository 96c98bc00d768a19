// Classify in this browser: the model and ONNX Runtime come from the server, the image stays here.
import { call } from './api.js';
import { bars, byId, h, ms, percent, tagOf } from './dom.js';
import { likeliest, onWhite, prepare } from './prepare.js';

const MOST = 5;
let loaded = null;
let address = '';
let turn = 0;

async function load() {
  const tag = new URLSearchParams(location.search).get('model') ?? '';
  const base = `../models/${encodeURIComponent(tag)}/in-browser`;
  const model = await call(base, { what: 'models for browsers' });
  byId('model').replaceChildren(...[tagOf(model.tag)].flat().filter(Boolean), `, ${(model.bytes / 1e6).toFixed(1)} MB`);
  const [ort, bytes] = await Promise.all([import('./runtime/ort.wasm.min.mjs'), call(`${base}/model.onnx`, { as: 'arrayBuffer', what: 'models for browsers' })]);
  // One thread: several need shared memory, which only pages of a special kind get.
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL('runtime/', document.baseURI).href;
  const session = await ort.InferenceSession.create(new Uint8Array(bytes), { executionProviders: ['wasm'] });
  return { ort, session, ...model };
}

async function pixels(blob) {
  // No colour profile is applied, as in the service.
  const bitmap = await createImageBitmap(blob, { imageOrientation: 'from-image', premultiplyAlpha: 'none', colorSpaceConversion: 'none' });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return onWhite(context.getImageData(0, 0, bitmap.width, bitmap.height));
}

async function classify(blob) {
  const mine = ++turn;
  byId('answer').setAttribute('aria-busy', 'true');
  try {
    const start = performance.now();
    const { ort, session, preprocess, labels, temperature, tag } = loaded;
    const side = preprocess.input_size;
    const input = prepare(await pixels(blob), preprocess);
    const prepared = performance.now();
    const answer = await session.run({ [session.inputNames[0]]: new ort.Tensor('float32', input, [1, 3, side, side]) }, ['logits']);
    const predictions = likeliest(answer.logits.data, labels, temperature, MOST);
    if (mine !== turn) return;
    byId('said').textContent = `${predictions[0].label}, ${percent(predictions[0].probability)}, and ${predictions.length - 1} more.`;
    byId('answer').replaceChildren(bars(predictions),
      h('p', { class: 'note' }, tagOf(tag), h('br'), `prepare ${ms(prepared - start)} · inference ${ms(performance.now() - prepared)} · nothing was sent`));
  } catch (error) {
    if (mine === turn) fail(error);
  }
  if (mine === turn) byId('answer').removeAttribute('aria-busy');
}

function use(blob) {
  if (!loaded || !blob) return;
  if (address) URL.revokeObjectURL(address);
  address = URL.createObjectURL(blob);
  byId('preview').src = address;
  byId('preview').hidden = false;
  byId('drop-hint').hidden = true;
  classify(blob);
}

function fail(error) {
  const message = error.name === 'InvalidStateError' ? 'This browser cannot read the image.' : error.message;
  byId('answer').replaceChildren(h('div', { class: 'problem', role: 'alert' }, h('strong', null, error.title ?? 'That did not work'), h('p', null, message)));
}

byId('choose').addEventListener('click', () => byId('file').click());
byId('file').addEventListener('change', (event) => {
  use(event.target.files[0]);
  event.target.value = ''; // The same file may be chosen again.
});
addEventListener('paste', (event) => use(event.clipboardData.files[0]));
addEventListener('dragover', (event) => event.preventDefault());
addEventListener('drop', (event) => {
  event.preventDefault();
  use(event.dataTransfer.files[0]);
});

load().then((found) => {
  loaded = found;
  byId('choose').disabled = false;
  byId('answer').replaceChildren(h('p', { class: 'empty' }, 'The most likely classes appear here.'));
}, fail);
