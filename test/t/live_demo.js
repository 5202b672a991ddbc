// live_demo.js: the page of demo/live in a headless Chromium, driven by its pipe.
//
//     node live_demo.js CHROMIUM DIRECTORY URL
//
// Prints what the page showed, step by step, as lines of "name: value".
'use strict';
const { spawn } = require('child_process');

const [chromium, directory, url] = process.argv.slice(2);
const browser = spawn(chromium, ['--headless=new', '--no-sandbox', '--disable-gpu',
  '--disable-dev-shm-usage', '--remote-debugging-pipe', `--user-data-dir=${directory}`],
  { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
const waiting = new Map();
let last = 0;
let rest = '';

browser.stdio[4].on('data', (data) => {
  const parts = (rest + data).split('\0');
  rest = parts.pop();
  for (const part of parts) {
    const message = JSON.parse(part);
    if (waiting.has(message.id)) waiting.get(message.id)(message);
    waiting.delete(message.id);
  }
});

function ask(method, params, sessionId) {
  return new Promise((resolve, reject) => {
    waiting.set(++last, (answer) =>
      (answer.error ? reject(new Error(answer.error.message)) : resolve(answer.result)));
    browser.stdio[3].write(`${JSON.stringify({ id: last, method, params, sessionId })}\0`);
  });
}

// In the page: until a condition holds, for two minutes at most.
const helpers = `
  const byName = (id) => document.getElementById(id);
  const until = async (condition) => {
    for (let i = 0; i < 1200 && !condition(); i++)
      await new Promise((resolve) => setTimeout(resolve, 100));
    if (!condition()) throw new Error('it does not come to pass: ' + condition);
  };
  const moves = () => [...document.querySelectorAll('.count')]
    .reduce((sum, count) => sum + Number(count.dataset.moves || 0), 0);
`;

async function main() {
  const { targetId } = await ask('Target.createTarget', { url });
  const { sessionId } = await ask('Target.attachToTarget', { targetId, flatten: true });
  const step = async (name, code) => {
    const { result, exceptionDetails } = await ask('Runtime.evaluate', {
      expression: `(async () => { ${helpers} ${code} })()`, awaitPromise: true }, sessionId);
    if (exceptionDetails) throw new Error(`${name}: ${exceptionDetails.exception.description}`);
    console.log(`${name}: ${result.value}`);
  };
  await step('posts', `await until(() => document.readyState === 'complete' &&
    document.querySelectorAll('#posts li').length === 4);
    return document.querySelectorAll('#posts li').length`);
  await step('alice', `byName('who').value = 'alice'; byName('who').onchange(new Event('change'));
    await until(() => byName('server').textContent === 'up'); return byName('server').textContent`);
  const comment = (text, isPrivate) => `byName('body').value = ${JSON.stringify(text)};
    byName('private').checked = ${isPrivate};
    byName('form').requestSubmit();
    await until(() => byName('comments').textContent.includes(${JSON.stringify(text)}));`;
  await step('comments', `${comment('<b>for all</b>', false)} ${comment('for me', true)}
    return byName('comments').children.length + ' ' +
      document.querySelectorAll('#comments b').length`);
  await step('moving', `byName('voters').click(); const before = moves();
    await until(() => moves() > before + 10); return true`);
  await step('killed', `byName('kill').click(); await until(() => byName('server').className === 'down');
    return byName('server').textContent`);
  await step('back', `await until(() => byName('server').className === 'up'); const before = moves();
    await until(() => moves() > before + 10); return true`);
  await step('bob', `byName('comments').replaceChildren(); byName('who').value = 'bob'; byName('who').onchange(new Event('change'));
    await until(() => byName('comments').textContent.includes('for all'));
    return byName('comments').textContent.includes('for me')`);
  await step('verified', `byName('verify').click();
    await until(() => /verify_board/.test(byName('result').value));
    return byName('result').value.replace(/, of .*/, '')`);
}

main().catch((error) => console.log(`error: ${error.message}`)).finally(() => {
  browser.kill('SIGKILL');
  process.exit(0);
});
