// The page: asks the broker every second while somebody looks, and keeps the sections up to date.
//
// It asks nobody else, and keeps no more than a few minutes of samples, here. A tab in the background
// asks for nothing.

import {Bus} from './model.js';
import {Events} from './events.js';
import {InterfaceCard} from './card.js';
import {readRollout} from './rollout.js';
import {haveCharts, formatPercent, formatRate, formatSpan, setAttribute, setText, sync} from './draw.js';

const POLL_MS = 1000;
const TIMEOUT_MS = 4000;

const $ = (id) => document.getElementById(id);
const bus = new Bus();
const events = new Events();
const cards = new Map(); // by section
let rollouts = [];
let control = false;
let frozen = false;
let polling = false;
let timer = 0;

async function get(path) {
  const answer = await fetch(path, {cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT_MS)});
  if (!answer.ok)
    throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

function sayLink(state, text) {
  setAttribute($('link'), 'data-state', state);
  setText($('link-text'), text);
}

async function poll() {
  if (polling || frozen || document.hidden)
    return;
  polling = true;
  clearTimeout(timer);
  try {
    const [list, stats, plans, news] = await Promise.all(
      [get('list'), get('stats'), get('rollouts'), get(`events?since=${events.last}`)]);
    control = Boolean(list.control);
    bus.take(list, stats);
    rollouts = plans.rollouts.map(readRollout);
    events.take(news);
    show(list, stats);
    sayLink('live', 'live');
  } catch (error) {
    sayLink('away', 'the broker does not answer; calls go on without it. Asking again');
    console.info(`parley: ${error.message}`);
  } finally {
    polling = false;
    timer = setTimeout(poll, POLL_MS);
  }
}

function show(list, stats) {
  const total = bus.total();
  setText($('fact-rate'), formatRate(total.rate));
  setText($('fact-errors'), formatPercent(total.errors === null ? null : 100 * total.errors));
  setText($('fact-flight'), String(total.flight));
  setText($('fact-endpoints'), String(list.endpoints.length));
  setText($('fact-uptime'), formatSpan(stats.uptime_ns / 1e9));
  setText($('broker'), `Broker ${stats.broker_id}.`);
  const named = [...bus.interfaces.values()].filter((one) => one.info || one.samples.some((sample) => sample.flows.size > 0))
    .sort((a, b) => a.name.localeCompare(b.name));
  $('nothing').hidden = named.length > 0;
  $('view-only').hidden = control || rollouts.length === 0;
  sync($('interfaces'), named, (one) => one.name,
    (one) => {
      const card = new InterfaceCard(one.name, act);
      cards.set(card.node, card);
      return card.node;
    },
    (node, one) => cards.get(node).update(one, {
      rollouts: rollouts.filter((rollout) => rollout.interface === one.name),
      marks: events.marksOf(one.name), now: stats.time_unix_ns / 1e9, control,
    }));
  for (const [node, card] of cards)
    if (!node.isConnected) {
      card.end();
      cards.delete(node);
    }
}

// ---- Acting ----

const QUESTIONS = {
  promote: ['Promote', () => 'Its next step begins at once, whatever hold, gates and approval of this one say.'],
  rollback: ['Roll back', (rollout) => `All calls of ${rollout.interface} go back to ${rollout.stable} at once.`],
};

function say(text) {
  $('said').textContent = text;
  $('said').classList.toggle('shown', text !== '');
}

let answer = () => {}; // of the question that is open

// At once, and not with the dialog's close event, which may come when the next question is open already.
$('sure-yes').addEventListener('click', () => answer(true));
$('sure-no').addEventListener('click', () => answer(false));
$('sure').addEventListener('cancel', () => answer(false)); // Escape

function ask(action, rollout) {
  const [title, text] = QUESTIONS[action];
  setText($('sure-title'), `${title} ${rollout.name}?`);
  setText($('sure-text'), text(rollout));
  setText($('sure-yes'), title);
  $('sure').showModal();
  return new Promise((resolve) => {
    answer = resolve;
  });
}

// The header makes it a request that no other site's page can send without being asked first.
async function act(action, rollout) {
  if (QUESTIONS[action] && !await ask(action, rollout))
    return;
  try {
    const reply = await fetch(`rollouts/${encodeURIComponent(rollout.name)}/${action}`,
      {method: 'POST', headers: {'X-Parley-Control': '1'}, signal: AbortSignal.timeout(TIMEOUT_MS)});
    const body = await reply.json().catch(() => ({}));
    say(reply.ok ? '' : `${rollout.name}: ${body.error || `refused (${reply.status})`}`);
  } catch (error) {
    say(`${rollout.name}: the broker did not answer (${error.message})`);
  }
  poll();
}

// ---- Beginning ----

$('freeze').addEventListener('click', () => {
  frozen = !frozen;
  setAttribute($('freeze'), 'aria-pressed', String(frozen));
  setText($('freeze'), frozen ? 'Go on' : 'Freeze');
  if (frozen)
    sayLink('frozen', 'frozen');
  else
    poll();
});
document.addEventListener('visibilitychange', poll);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  for (const card of cards.values())
    card.paint();
});
$('no-charts').hidden = haveCharts();
poll();
