// Talks to the server. Every failure is an ApiError whose message can be shown as it is.

const KEY = 'hubserve.token';

export const token = {
  get: () => sessionStorage.getItem(KEY) ?? '',
  set(value) {
    if (value) sessionStorage.setItem(KEY, value);
    else sessionStorage.removeItem(KEY);
    document.dispatchEvent(new CustomEvent('token'));
  },
};

export class ApiError extends Error {
  constructor(status, title, message) {
    super(message);
    this.status = status;
    this.title = title;
    this.wantsToken = status === 401;
  }
}

// The server has no such route, as one of another version may not.
export class NotOffered extends ApiError {}

const TITLES = { 401: 'This needs a token', 403: 'Not allowed', 404: 'Not found', 503: 'The server is busy' };
const title = (status) => TITLES[status] ?? (status < 500 ? 'That could not be used' : 'The server failed');

// Sends a request; answers with JSON, or with what `as` names ('blob', 'text').
export async function call(path, { method = 'GET', body, type, signal, as = 'json', what = 'this' } = {}) {
  const headers = {};
  if (type) headers['Content-Type'] = type;
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  let answer;
  try {
    answer = await fetch(path, { method, body, headers, signal, cache: 'no-cache' });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(0, 'The server does not answer', 'It may have stopped, or the network is gone.');
  }
  if (!answer.ok) throw await refusal(answer, what);
  return answer.status === 204 ? null : answer[as]();
}

export const post = (path, value, what, signal) => call(path, { method: 'POST', body: JSON.stringify(value), type: 'application/json', what, signal });

async function refusal(answer, what) {
  const error = await answer.json().then((body) => body.error, () => null);
  if (error?.message) return new ApiError(answer.status, title(answer.status), error.message);
  // Ours always says {"error": ...}; without it, nobody knows the route.
  if (answer.status === 404 || answer.status === 405) return new NotOffered(answer.status, 'Not offered', `This server does not offer ${what}.`);
  return new ApiError(answer.status, title(answer.status), `It answered with status ${answer.status} and said no more.`);
}
