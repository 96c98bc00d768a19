// Starts a fine-tuning: a model, a data folder of the server or a ZIP of one's own, and minutes.
import { call, post } from './api.js';
import { byId, h, number, toJob } from './dom.js';
import { problem } from './token.js';

const option = (value, text) => h('option', { value }, text);

export async function listStarts(place) {
  let models;
  let data;
  try {
    [models, data] = await Promise.all([call('models', { what: 'a list of models' }), call('jobs/data', { what: 'data folders' })]);
    models = [...new Set(models.map((model) => model.tag.split(':')[0]))];
  } catch {
    return; // The list of jobs says what is wrong.
  }
  const wrong = h('div');
  const names = h('datalist', { id: 'tune-models' }, models.map((name) => option(name)));
  // Pre-searched models come later: a process of the server looks for their weights.
  call('jobs/starts', { what: 'models to start from' }).then((found) => names.replaceChildren(...found.map((name) => option(name))), () => {});
  const folders = h('select', { id: 'tune-data' });
  const fill = (found, chosen) => {
    folders.replaceChildren(...found.map(({ folder, class_count: classes, images }) => option(folder, `${folder} · ${classes} classes, ${number(images)} images`)), option('', 'Upload a ZIP of class folders'));
    folders.value = chosen ?? found[0]?.folder ?? '';
    zip.hidden = folders.value !== '';
  };
  const zip = h('label', { class: 'grow' }, 'ZIP', h('input', { type: 'file', id: 'tune-zip', accept: '.zip,application/zip' }));
  folders.addEventListener('change', () => { zip.hidden = folders.value !== ''; });
  const button = h('button', { type: 'submit', class: 'primary', id: 'tune-start' }, 'Fine-tune');
  const form = h('form', { class: 'panel', onsubmit: submit },
    h('div', { class: 'row fields' },
      h('label', { class: 'grow' }, 'Fine-tune the model', h('input', { id: 'tune-model', list: 'tune-models', value: 'efficientnet-lite0', required: true }), names),
      h('label', { class: 'grow' }, 'on the images in', folders), zip),
    h('div', { class: 'row fields' },
      h('label', null, 'Minutes', h('input', { type: 'number', id: 'tune-minutes', min: '0.1', step: 'any', value: '10', required: true })),
      h('label', { class: 'grow' }, 'Name', h('input', { id: 'tune-name', value: 'my-images', pattern: '[a-z][a-z0-9_\\-]{0,59}', required: true })), button), wrong);
  fill(data.folders);
  place.replaceChildren(form);

  async function submit(event) {
    event.preventDefault();
    wrong.replaceChildren();
    button.disabled = true;
    try {
      const name = byId('tune-name').value;
      const folder = folders.value || await upload(name);
      const definition = { name, start: { model: byId('tune-model').value }, data: { name: 'folder', folder }, recipe: { minutes: Number(byId('tune-minutes').value) }, publish: { name } };
      const { id } = await post('jobs', { definition }, 'starting jobs');
      byId('said').textContent = `${name} was started.`;
      location.hash = toJob(id);
    } catch (error) {
      wrong.replaceChildren(problem(error));
    }
    button.disabled = false;
  }

  async function upload(name) {
    const [file] = byId('tune-zip').files;
    if (!file) throw new Error('Choose a ZIP with a folder of images for each class.');
    byId('said').textContent = 'Uploading.';
    const { data: made } = await call(`jobs/data?name=${encodeURIComponent(name)}`, { method: 'POST', body: file, type: 'application/zip', what: 'uploads' });
    fill((await call('jobs/data', { what: 'data folders' })).folders, made.folder);
    return made.folder;
  }
}
