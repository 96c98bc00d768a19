// The sections, one at a time, by the address's hash: #classify[/TAG], #models[/TAG], #search[/JOB].
import { byId } from './dom.js';
import * as classify from './classify.js';
import * as models from './models.js';
import * as search from './search.js';
import { initToken } from './token.js';

const VIEWS = { classify, models, search };
let current = null;

function route() {
  const [name, ...rest] = location.hash.slice(1).split('/');
  // Another hash, such as that of the skip link, is a place in the section that is shown.
  if (current && name && !(name in VIEWS)) return;
  const view = name in VIEWS ? name : 'classify';
  if (current && current !== view) VIEWS[current].hide?.();
  current = view;
  for (const other of Object.keys(VIEWS)) byId(`view-${other}`).hidden = other !== view;
  for (const link of document.querySelectorAll('nav a')) {
    const here = link.hash === `#${view}`;
    if (here) document.title = `${link.textContent} · hubserve`;
    link.ariaCurrent = here ? 'page' : null;
  }
  VIEWS[view].show(decoded(rest.join('/')));
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

initToken();
for (const view of Object.values(VIEWS)) view.init?.();
addEventListener('hashchange', route);
document.addEventListener('token', route);
document.addEventListener('visibilitychange', () => { if (!document.hidden) route(); });
route();
