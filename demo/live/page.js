// page.js: what the gateway sends becomes text on the page, never markup.
'use strict';
const byId = (id) => document.getElementById(id);
let token = null;
let source = null;
let voting = false;

async function post(path, body) {
  const headers = { 'Content-Type': 'application/json', 'X-Cozi': 'demo' };
  if (token) headers.Authorization = `Bearer ${token}`;
  const response = await fetch(path, { method: 'POST', headers, body: JSON.stringify(body || {}) });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error || response.statusText);
  return answer;
}

function attempt(work) {
  return async (event) => {
    event.preventDefault();
    try {
      await work();
    } catch (error) {
      byId('result').value = error.message;
    }
  };
}

function element(tag, text, name) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (name) made.className = name;
  return made;
}

function showCounts(row) {
  let item = byId(`post-${row.post}`);
  if (!item && !row.title) return; // a post that was written after the page was read
  if (!item) {
    item = element('li', '');
    item.id = `post-${row.post}`;
    item.append(element('span', '', 'count'), element('button', '+'), element('button', '-'),
      element('span', ` ${row.title}`));
    const [up, down] = item.querySelectorAll('button');
    up.onclick = attempt(() => post('/vote', { post: row.post, value: 1 }));
    down.onclick = attempt(() => post('/vote', { post: row.post, value: -1 }));
    byId('posts').append(item);
    const option = element('option', row.title);
    option.value = row.post;
    byId('post').append(option);
  }
  const count = item.querySelector('.count');
  count.textContent = `${row.ups} / ${row.downs}`;
  count.dataset.moves = Number(count.dataset.moves || 0) + 1;
  count.classList.add('moved');
  setTimeout(() => count.classList.remove('moved'), 500);
}

// The same comment may come twice: it has one place.
function showComment(row) {
  if (byId(`comment-${row.id}`)) return;
  const item = element('li', row.body, row.visibility);
  item.id = `comment-${row.id}`;
  byId('comments').prepend(item);
}

function connect() {
  if (source) source.close();
  byId('comments').replaceChildren();
  source = new EventSource(token ? `/events?token=${encodeURIComponent(token)}` : '/events');
  source.addEventListener('page', (event) => {
    const page = JSON.parse(event.data);
    page.posts.forEach(showCounts);
    page.comments.forEach(showComment);
  });
  source.addEventListener('counts', (event) => showCounts(JSON.parse(event.data)));
  source.addEventListener('comment', (event) => showComment(JSON.parse(event.data)));
  source.addEventListener('server', (event) => {
    const { state } = JSON.parse(event.data);
    byId('server').textContent = state === 'up' ? 'up' : 'away';
    byId('server').className = state;
  });
}

byId('who').onchange = attempt(async () => {
  const name = byId('who').value;
  token = name ? (await (await fetch(`/token?name=${name}`)).json()).token : null;
  connect();
});
byId('voters').onclick = attempt(async () => {
  await post('/voters', { on: !voting });
  voting = !voting;
  byId('voters').textContent = voting ? 'Stop the voters' : 'Run voters';
});
byId('kill').onclick = attempt(async () => {
  await post('/kill');
  byId('result').value = 'killed, and started again';
});
byId('verify').onclick = attempt(async () => {
  const { rows, votes } = await post('/verify');
  voting = false;
  byId('result').value = `verify_board: ${rows} rows, of ${votes} votes`;
});
byId('form').onsubmit = attempt(async () => {
  await post('/comment', { post: byId('post').value, body: byId('body').value,
    visibility: byId('private').checked ? 'private' : 'public' });
  byId('body').value = '';
});
connect();
