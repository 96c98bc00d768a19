// Shows the OpenAPI document by Swagger UI. The token is the one of the web page, and sent with each request.
import { call, token } from '../page/api.js';

const byId = (id) => document.getElementById(id);

function withToken(request) {
  if (token.get() && !request.headers.Authorization) request.headers.Authorization = `Bearer ${token.get()}`;
  return request;
}

async function start() {
  let spec;
  try {
    spec = await call('docs.json', { what: 'a description of its routes' });
  } catch (error) {
    byId('problem').textContent = error.message;
    byId('problem').hidden = false;
    byId('token-form').hidden = !error.wantsToken;
    return;
  }
  byId('problem').hidden = byId('token-form').hidden = true;
  // Behind a proxy the routes may be below another path.
  spec.servers = [{ url: new URL('.', document.baseURI).href.replace(/\/$/, '') }];
  window.SwaggerUIBundle({ spec, dom_id: '#swagger-ui', deepLinking: true, validatorUrl: null, requestInterceptor: withToken });
}

byId('token-form').addEventListener('submit', (event) => {
  event.preventDefault();
  token.set(byId('token-value').value.trim());
  start();
});
start();
