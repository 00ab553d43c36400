// One interface: its figures, rollouts, charts, versions, and who talks to whom.

import {
  LineChart, colourIndex, drawFlows, el, flowLabel, formatDuration, formatPercent, formatRate, haveCharts,
  setAttribute, setText, swatch, sync,
} from './draw.js';
import {compareVersions} from './model.js';
import {RolloutPanel} from './rollout.js';

const CHARTS = [
  {title: 'Share of calls', stacked: true, max: 100, format: formatPercent, lines: [{of: 'share'}]},
  {title: 'Latency: p99, and p50 dashed', format: formatDuration, lines: [{of: 'p99'}, {of: 'p50', dash: [4, 3]}]},
  {title: 'Errors', suggestedMax: 1, format: formatPercent, lines: [{of: 'errors'}]},
];

const COLUMNS = [
  ['Version'], ['Share', 'number'], ['Set to', 'number wide'], ['Calls/s', 'number'], ['Errors', 'number'],
  ['p50', 'number wide'], ['p99', 'number'], ['In flight', 'number wide'], ['Instances', 'number wide'],
];

export class InterfaceCard {
  constructor(name, act) {
    const id = `i-${[...name].map((c) => (/[a-z0-9]/i.test(c) ? c : '_')).join('')}`;
    this.act = act;
    this.panels = new Map();
    this.title = el('h2', {id});
    this.title.textContent = name;
    this.facts = el('p', {class: 'sub'});
    this.bar = el('div', {class: 'share', role: 'img'});
    this.rollouts = el('div', {class: 'rollouts'});
    this.charts = haveCharts() ? CHARTS.map((kind) => new LineChart(kind)) : [];
    this.body = el('tbody');
    this.picture = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    this.picture.setAttribute('role', 'img');
    this.picture.setAttribute('class', 'flows');
    this.offers = el('ul', {class: 'plain'});
    this.instances = el('ul', {class: 'plain'});
    this.node = el('section', {class: 'card', 'aria-labelledby': id},
      el('div', {class: 'title'}, this.title, this.facts),
      this.bar,
      this.rollouts,
      el('div', {class: 'charts'}, ...this.charts.map((chart) => chart.node)),
      el('div', {class: 'pair'},
        el('div', {}, el('h3', {}, 'Versions'), el('div', {class: 'scroll'}, this.table(name)),
          el('details', {}, el('summary', {}, 'Instances'), this.instances),
          el('details', {}, el('summary', {}, 'Translations'), this.offers)),
        el('div', {}, el('h3', {}, 'Who talks to whom'), this.picture)));
    this.resized = new ResizeObserver(() => this.one && this.drawPicture());
    this.resized.observe(this.picture);
  }

  table(name) {
    const head = COLUMNS.map(([title, kind]) => el('th', {scope: 'col', class: kind}, title));
    const caption = el('caption', {class: 'hidden'});
    caption.textContent = `Versions of ${name}`;
    return el('table', {}, caption, el('thead', {}, el('tr', {}, ...head)), this.body);
  }

  update(one, {rollouts, marks, now, control}) {
    this.one = one;
    const {count, rate} = one.window();
    const clients = one.info ? `${one.info.clients} client${one.info.clients === 1 ? '' : 's'}` : 'nothing publishes it now';
    setText(this.facts, [clients, `${formatRate(rate)} calls/s`, `${formatPercent(count.ended ? 100 * count.errorShare : null)} errors`,
      `p50 ${formatDuration(count.quantile(0.5))}`, `p99 ${formatDuration(count.quantile(0.99))}`].join(' · '));
    const rows = one.versions.map((version) => this.row(version, count));
    this.updateBar(rows);
    this.updateTable(rows);
    this.updateRollouts(rollouts, control);
    this.drawPicture();
    this.updateDetails();
    this.updateCharts(marks, now);
  }

  row(version, all) {
    const {count, rate} = this.one.window((asked, served) => served === version);
    const info = this.one.info?.versions.find((known) => known.version === version);
    return {version, count, rate, info, index: colourIndex(this.one.versions, version),
      share: all.ended > 0 ? (100 * count.ended) / all.ended : null, flight: this.one.flight.get(version) || 0};
  }

  updateBar(rows) {
    const shown = rows.filter(({share, info}) => (share ?? info?.share_percent) > 0);
    const of = ({share, info}) => share ?? info.share_percent;
    sync(this.bar, shown, ({version}) => version,
      ({index}) => el('span', {'data-colour': index}),
      (part, row) => {
        part.style.flexGrow = of(row);
        setText(part, of(row) >= 12 ? `${row.version}  ${Math.round(of(row))} %` : '');
      });
    setAttribute(this.bar, 'aria-label', shown.map((row) => `${row.version} ${formatPercent(of(row))}`).join(', ') || 'no calls');
  }

  updateTable(rows) {
    sync(this.body, rows, ({version}) => version, ({version, index}) => {
      const name = el('th', {scope: 'row'}, swatch(index), el('span'));
      name.lastChild.textContent = version;
      return el('tr', {}, name, ...COLUMNS.slice(1).map(([, kind]) => el('td', {class: kind})));
    }, (tr, {count, rate, info, share, flight}) => {
      const errors = count.ended ? 100 * count.errorShare : null;
      const up = info?.instances.filter((instance) => !instance.draining).length ?? 0;
      const draining = (info?.instances.length ?? 0) - up;
      const cells = [formatPercent(share), info ? formatPercent(info.share_percent) : '–', formatRate(rate), formatPercent(errors),
        formatDuration(count.quantile(0.5)), formatDuration(count.quantile(0.99)), String(flight),
        draining ? `${up} + ${draining} draining` : String(up)];
      cells.forEach((text, i) => setText(tr.children[i + 1], text));
      tr.children[4].classList.toggle('bad', errors >= 1);
      tr.classList.toggle('gone', up === 0);
    });
  }

  updateRollouts(rollouts, control) {
    sync(this.rollouts, rollouts, (rollout) => rollout.name,
      (rollout) => {
        const panel = new RolloutPanel(rollout.name, this.act);
        this.panels.set(panel.node, panel);
        return panel.node;
      },
      (node, rollout) => this.panels.get(node).update(rollout, this.one.versions, control));
  }

  drawPicture() {
    drawFlows(this.picture, this.one.flows(), this.one.versions);
  }

  updateDetails() {
    const instances = (this.one.info?.versions || []).flatMap((version) =>
      version.instances.map((instance) => ({...instance, version: version.version})));
    instances.sort((a, b) => compareVersions(a.version, b.version) || (a.pid ?? 0) - (b.pid ?? 0));
    sync(this.instances, instances, (instance) => instance.instance, () => el('li'), (item, instance) =>
      setText(item, `${instance.version}  ${instance.endpoint}` +
        (instance.uid === undefined ? '' : `, pid ${instance.pid}, uid ${instance.uid}`) +
        `${instance.draining ? ', draining' : ''}${instance.ejected ? ', ejected' : ''}`));
    const flows = this.one.flows().map(flowLabel);
    const offers = (this.one.info?.offers || []).map((offer) => `${offer.clients} client${offer.clients === 1 ? '' : 's'} of ` +
      `${offer.client_version} may call ${offer.version}: ${offer.translation}${offer.over?.length ? ` over ${offer.over.join(', ')}` : ''}`);
    sync(this.offers, [...offers, ...flows], (text) => text.replace(/: .*calls.s/, ''), () => el('li'), setText);
  }

  updateCharts(marks, now) {
    const series = this.one.versions.map((version) => (
      {version, index: colourIndex(this.one.versions, version), points: this.one.series(version)}));
    for (const chart of this.charts) {
      if (!chart.chart)
        chart.begin();
      chart.update(series, now, marks);
    }
  }

  paint() {
    for (const chart of this.charts)
      chart.paint();
  }

  end() {
    this.resized.disconnect();
    for (const chart of this.charts)
      chart.end();
  }
}
