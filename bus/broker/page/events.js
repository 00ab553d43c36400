// The last events: a list, newest first, and the moments that the charts mark.

import {el, formatClock, setText, sync} from './draw.js';

const SHOWN = 100;
const BAD = /roll(ed )?back|fail/i;

export class Events {
  last = 0; // the sequence of the last that we have seen
  broker = null;
  list = []; // newest first

  take(news) {
    if (this.broker !== null && this.broker !== news.broker) {
      // Another broker counts from the beginning; what we asked for may have been past its end.
      this.last = 0;
      this.broker = news.broker;
      return;
    }
    this.broker = news.broker;
    this.last = news.last;
    if (news.events.length === 0 && this.list.length > 0)
      return;
    for (const event of news.events)
      this.list.unshift({...event, key: `${news.broker} ${event.sequence}`});
    this.list.length = Math.min(this.list.length, SHOWN);
    document.getElementById('no-events').hidden = this.list.length > 0;
    sync(document.getElementById('events'), this.list, (event) => event.key, makeEvent);
  }

  // When shares of an interface changed, in seconds.
  marksOf(name) {
    return this.list.filter((event) => event.interface === name && /^(route|rollout)/.test(event.topic))
      .map((event) => ({time: event.time_unix_ns / 1e9, bad: BAD.test(event.text || '')}));
  }
}

function makeEvent(event) {
  const topic = event.topic || '';
  const bad = /^(refused|instance\.gone)/.test(topic) || BAD.test(event.text || '');
  const item = el('li', {'data-tone': bad ? 'bad' : /^(route|rollout)/.test(topic) ? 'act' : null},
    el('time', {datetime: new Date(event.time_unix_ns / 1e6).toISOString()}, formatClock(event.time_unix_ns / 1e6)),
    el('span', {class: 'topic'}, topic.split('.').at(-1)));
  const text = el('p');
  setText(text, event.text || [event.interface, event.version].filter(Boolean).join(' '));
  item.append(text);
  return item;
}
