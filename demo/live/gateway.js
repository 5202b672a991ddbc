// gateway.js: from PostgreSQL to browsers, by server-sent events.
//
//     PGHOST=... PGDATABASE=... PGDATA=... COZI_SECRET=... node gateway.js [PORT]
//
// Counts are read once for all viewers, by changes_since(): what has changed, and no more.
// A comment is heard of through the outbox, and then read once for each viewer, with that
// viewer's rights: what a viewer may not see is never in this process on the viewer's
// behalf.  The outbox is told that an event is done after it has been sent.
//
// The laws: it listens on the loopback interface alone; a request that changes something
// has a header that no other site's page can send; a viewer's token goes to login(), and
// nothing but login() is believed.
//
// The gateway of a demo: it also hands out tokens, runs voters, and kills the server.
'use strict';
const { execFile } = require('child_process');
const crypto = require('crypto');
const fs = require('fs');
const http = require('http');
const path = require('path');
const { Pool } = require('pg');

const users = { alice: 1, bob: 2 };
const viewers = new Set(); // { response, token, queue }
let cursor = null; // the last change of a count that was sent
const voters = 4;
let server = 'up';
let voting = false;
let votes = 0;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
// A connection may end at any moment: the statement that uses it says so.
const ignore = () => {};
const open = (user, max) =>
  new Pool({ user, max, connectionTimeoutMillis: 5000 })
    .on('error', ignore)
    .on('connect', (client) => client.on('error', ignore));
const pool = open('live_gateway', 8);
const owner = open('live_owner', 1);

// A transaction as a viewer: the role first, then the identity, both until its end.
async function asViewer(token, work) {
  const client = await pool.connect();
  let broken;
  try {
    await client.query('BEGIN; SET LOCAL ROLE live_reader');
    if (token) await client.query('SELECT cozi.login($1)', [token]);
    const result = await work(client);
    await client.query('COMMIT');
    return result;
  } catch (error) {
    broken = error;
    throw error;
  } finally {
    client.release(broken);
  }
}

const comments = (client, ids) =>
  client.query(
    `SELECT id, post_id, author_id, visibility, body FROM comments
     WHERE $1::bigint[] IS NULL OR id = ANY ($1) ORDER BY id DESC LIMIT 50`,
    [ids]);

// What comes before a viewer has the page waits behind it.
function send(viewer, event, data) {
  const message = `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
  if (viewer.queue) viewer.queue.push(message);
  else viewer.response.write(message);
}

function sendAll(event, data) {
  for (const viewer of viewers) send(viewer, event, data);
}

function say(state) {
  if (state === server) return;
  server = state;
  sendAll('server', { state });
}

// What runs for as long as the gateway does: an error is a server that is away.
async function forever(ms, work) {
  for (;;) {
    let more = false;
    try {
      more = await work();
      say('up');
    } catch (error) {
      if (!error.code || /^(57P|08|E)/.test(error.code)) say('down');
      else console.error(error.message);
    }
    if (!more) await pause(ms);
  }
}

const readCounts = (client) =>
  client.query(`SELECT p.id AS post, p.title, coalesce(h.ups, 0) AS ups,
       coalesce(h.downs, 0) AS downs
     FROM posts p LEFT JOIN hot h ON h.item = p.id ORDER BY p.id`);

// A thousand votes for a post are one row.  A cursor that has ended begins anew.
async function sendCounts() {
  try {
    const { rows } = await asViewer(null, (client) =>
      client.query("SELECT item, row_data, gone, cursor FROM cozi.changes_since('hot', $1)",
        [cursor]));
    for (const { item, row_data: row, gone } of rows)
      if (item !== null)
        sendAll('counts', { post: item, ups: gone ? 0 : row.ups, downs: gone ? 0 : row.downs });
    if (rows.length > 0) cursor = rows[rows.length - 1].cursor;
  } catch (error) {
    if (error.code === '55000') cursor = null;
    throw error;
  }
}

// Events of the outbox.  Each viewer is asked for; what one may not see is not there.
async function sendComments() {
  const { rows } = await pool.query("SELECT * FROM cozi.outbox_take('outbox', 'page', 100, '5 s')");
  if (rows.length === 0) return false;
  const ids = rows.filter((row) => row.type === 'commented').map((row) => row.payload.id);
  await Promise.all([...viewers].map(async (viewer) => {
    try {
      const found = await asViewer(viewer.token, (client) => comments(client, ids));
      for (const row of found.rows.reverse()) send(viewer, 'comment', row);
    } catch (error) {
      viewer.response.end(); // the page comes back, and reads everything
    }
  }));
  await pool.query("SELECT cozi.outbox_done('outbox', 'page', $1)", [rows[0].lease]);
  return true;
}

// A viewer is listed before the page is read: what comes meanwhile comes twice, never not.
async function watch(request, response, token) {
  const viewer = { response, token, queue: [] };
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
  viewers.add(viewer);
  request.on('close', () => viewers.delete(viewer));
  try {
    const page = await asViewer(token, async (client) => ({
      posts: (await readCounts(client)).rows,
      comments: (await comments(client, null)).rows.reverse(),
    }));
    const { queue } = viewer;
    viewer.queue = null;
    send(viewer, 'page', page);
    for (const message of queue) response.write(message);
    send(viewer, 'server', { state: server });
  } catch (error) {
    response.end();
  }
}

const base64url = (data) => Buffer.from(data).toString('base64url');

function sign(sub) {
  const head = `${base64url('{"alg":"HS256","typ":"JWT"}')}.${base64url(JSON.stringify({
    sub: String(sub), exp: Math.floor(Date.now() / 1000) + 3600 }))}`;
  const mac = crypto.createHmac('sha256', process.env.COZI_SECRET).update(head).digest();
  return `${head}.${mac.toString('base64url')}`;
}

async function vote(token, body) {
  await asViewer(token, (client) => client.query('SELECT vote($1, $2)', [body.post, body.value]));
}

async function comment(token, body) {
  const visibility = body.visibility === 'private' ? 'private' : 'public';
  await asViewer(token, async (client) => {
    const { rows } = await client.query(
      `INSERT INTO comments (post_id, author_id, visibility, body)
       VALUES ($1, cozi.require_uid_bigint(), $2, $3) RETURNING id`,
      [body.post, visibility, body.body]);
    await client.query(
      `INSERT INTO outbox (aggregatetype, aggregateid, type, payload)
       VALUES ('post', $1, 'commented', jsonb_build_object('id', $2::bigint))`,
      [String(body.post), rows[0].id]);
  });
}

// Voters of the demo: users 1000 and up, one vote after the other.
async function runVoter() {
  while (voting) {
    try {
      await vote(sign(1000 + crypto.randomInt(5000)),
        { post: 1 + crypto.randomInt(4), value: crypto.randomInt(10) < 7 ? 1 : -1 });
      votes++;
    } catch (error) {
      await pause(50);
    }
  }
}

async function setVoting(on) {
  if (on && !voting) {
    voting = true;
    for (let i = 0; i < voters; i++) runVoter();
  } else if (!on) voting = false;
}

const run = (program, args) =>
  new Promise((resolve) => execFile(program, args, (error) => resolve(!error)));

// kill -9 of the postmaster; its other processes see that it has gone.
async function killServer() {
  const file = path.join(process.env.PGDATA, 'postmaster.pid');
  process.kill(Number(fs.readFileSync(file, 'utf8').split('\n')[0]), 'SIGKILL');
  say('down');
  const args = ['-w', '-D', process.env.PGDATA, '-l', process.env.COZI_LOG || '/dev/null', 'start'];
  while (!(await run('pg_ctl', args))) await pause(200); // until all processes have ended
}

// The end of the show: voters stop, and the board is compared with a recount.
async function verify() {
  await setVoting(false);
  const wrong = await owner.query("SELECT count(*)::int AS n FROM cozi.verify_board('hot')");
  const cast = await owner.query('SELECT count(*)::int AS n FROM votes');
  return { rows: wrong.rows[0].n, votes: cast.rows[0].n };
}

const commands = {
  '/vote': vote,
  '/comment': comment,
  '/voters': (token, body) => setVoting(body.on === true),
  '/kill': killServer,
  '/verify': verify,
};

async function readBody(request) {
  let text = '';
  for await (const part of request) {
    text += part;
    if (text.length > 10000) throw new Error('the request is too long');
  }
  return text === '' ? {} : JSON.parse(text);
}

async function answer(request, response) {
  const url = new URL(request.url, 'http://127.0.0.1');
  const json = (status, value) => {
    response.writeHead(status, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify(value));
  };
  // a name that another site has made resolve to this address
  if (!/^(127\.0\.0\.1|localhost)(:\d+)?$/.test(request.headers.host || '')) return json(403, {});
  if (request.method === 'GET' && url.pathname === '/') {
    response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8',
      'Content-Security-Policy': "default-src 'none'; connect-src 'self'; " +
        "script-src 'self'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'" });
    return response.end(fs.readFileSync(path.join(__dirname, 'page.html')));
  }
  for (const [name, type] of [['/page.js', 'text/javascript'], ['/page.css', 'text/css']])
    if (request.method === 'GET' && url.pathname === name) {
      response.writeHead(200, { 'Content-Type': type });
      return response.end(fs.readFileSync(path.join(__dirname, name)));
    }
  if (request.method === 'GET' && url.pathname === '/events')
    return watch(request, response, url.searchParams.get('token'));
  if (request.method === 'GET' && url.pathname === '/token' &&
      Object.hasOwn(users, url.searchParams.get('name')))
    return json(200, { token: sign(users[url.searchParams.get('name')]) });
  const command = Object.hasOwn(commands, url.pathname) && commands[url.pathname];
  if (request.method !== 'POST' || !command || request.headers['x-cozi'] !== 'demo')
    return json(404, {});
  try {
    const token = (request.headers.authorization || '').replace(/^Bearer /, '') || null;
    return json(200, (await command(token, await readBody(request))) || {});
  } catch (error) {
    return json(400, { error: error.message });
  }
}

const listener = http.createServer(answer).listen(Number(process.argv[2] || 0), '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${listener.address().port}/`);
  forever(250, sendCounts);
  forever(100, sendComments);
});
