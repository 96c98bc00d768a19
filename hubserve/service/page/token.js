// The token: asked for in a dialog, kept for this tab only.
import { token } from './api.js';
import { byId, h } from './dom.js';

export function askForToken() {
  byId('token-value').value = token.get();
  byId('token').showModal();
}

// An error for people, with a way to enter the token where one is missing or wrong.
export const problem = (error) => h('div', { class: 'problem', role: 'alert' }, h('strong', null, error.title ?? 'That did not work'), h('p', null, error.message),
  error.wantsToken && h('button', { type: 'button', onclick: askForToken }, 'Enter a token'));

export function initToken() {
  const show = () => { byId('token-open').textContent = token.get() ? 'Token set' : 'Token'; };
  const end = (value) => { byId('token').close(); token.set(value); };
  byId('token-open').addEventListener('click', askForToken);
  byId('token-cancel').addEventListener('click', () => byId('token').close());
  byId('token-forget').addEventListener('click', () => end(''));
  byId('token-form').addEventListener('submit', (event) => {
    event.preventDefault();
    end(byId('token-value').value.trim());
  });
  document.addEventListener('token', show);
  show();
}
