// How things look: nodes, numbers, the charts, and the picture of who talks to whom.
//
// Whatever a peer chose (names, versions, texts) reaches the page as textContent or as an attribute's
// value, never as markup.

const SVG = 'http://www.w3.org/2000/svg';
const COLOURS = 6; // --v0 to --v5 of page.css

// ---- Nodes ----

// el('td', {class: 'number', 'data-x': 1}, 'text', node...)
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  return fill(node, attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes))
    if (value !== null && value !== undefined && value !== false)
      node.setAttribute(name, value === true ? '' : value);
  node.append(...children);
  return node;
}

// Only what changes is written: a screen reader reads, and the browser lays out, nothing twice.
export function setText(node, text) {
  if (node.textContent !== text)
    node.textContent = text;
}

export function setAttribute(node, name, value) {
  if (value === null || value === false)
    node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value))
    node.setAttribute(name, value);
}

// Makes @parent's children one for each item, in their order; a child stays that of its key.
export function sync(parent, items, keyOf, make, update) {
  const old = new Map([...parent.children].filter((child) => child.dataset.key !== undefined)
    .map((child) => [child.dataset.key, child]));
  let before = null;
  for (const item of items) {
    const key = String(keyOf(item));
    let child = old.get(key);
    old.delete(key);
    if (!child) {
      child = make(item);
      child.dataset.key = key;
    }
    const place = before ? before.nextElementSibling : parent.querySelector(':scope > [data-key]');
    if (child !== place)
      before ? before.after(child) : parent.prepend(child);
    update?.(child, item);
    before = child;
  }
  for (const child of old.values())
    child.remove();
}

// ---- Numbers ----

const NONE = '–';

export function formatDuration(ns) {
  if (ns === null || ns === undefined)
    return NONE;
  const units = ['ns', 'µs', 'ms', 's'];
  let unit = 0;
  for (; ns >= 999.5 && unit < 3; unit++)
    ns /= 1000;
  return `${unit === 0 || ns >= 99.95 ? ns.toFixed(0) : ns.toFixed(ns < 9.995 ? 2 : 1)} ${units[unit]}`;
}

export function formatRate(rate) {
  if (rate === null || rate === undefined)
    return NONE;
  if (rate >= 999500)
    return `${(rate / 1e6).toFixed(2)} M`;
  if (rate >= 9995)
    return `${(rate / 1000).toFixed(1)} k`;
  return rate > 0 && rate < 9.95 ? rate.toFixed(1) : rate.toFixed(0);
}

export function formatPercent(percent) {
  if (percent === null || percent === undefined || Number.isNaN(percent))
    return NONE;
  if (percent > 0 && percent < 0.01)
    return '<0.01 %';
  return `${Number(percent.toFixed(percent < 1 ? 2 : 1))} %`;
}

export function formatSpan(seconds) {
  if (!Number.isFinite(seconds))
    return NONE;
  const parts = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']];
  const first = parts.findIndex(([size]) => seconds >= size);
  if (first < 0)
    return '0 s';
  return parts.slice(first, first + 2).map(([size, unit], i) =>
    [Math.floor((i ? seconds % parts[first][0] : seconds) / size), unit])
    .filter(([count], i) => i === 0 || count > 0).map((part) => part.join(' ')).join(' ');
}

// @time: what Date takes
export function formatClock(time) {
  return new Date(time).toLocaleTimeString('en-GB');
}

// ---- Colours ----

export function colourIndex(versions, version) {
  return Math.max(0, versions.indexOf(version)) % COLOURS;
}

function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export function swatch(index) {
  return el('span', {class: 'swatch', 'data-colour': index, 'aria-hidden': true});
}

// ---- Charts ----

const REACHES = [[60, 20], [120, 60], [300, 60]]; // seconds, and between two numbers: the smallest that holds all samples

export function haveCharts() {
  return typeof window.Chart === 'function';
}

// Dashed lines where the shares were changed.
const marks = {
  id: 'marks',
  afterDatasetsDraw(chart, _, {times}) {
    const {ctx, chartArea, scales} = chart;
    ctx.save();
    ctx.setLineDash([3, 3]);
    for (const {x, bad} of times || []) {
      if (x < scales.x.min)
        continue;
      ctx.strokeStyle = css(bad ? '--bad' : '--muted');
      const at = Math.round(scales.x.getPixelForValue(x)) + 0.5;
      ctx.beginPath();
      ctx.moveTo(at, chartArea.top);
      ctx.lineTo(at, chartArea.bottom);
      ctx.stroke();
    }
    ctx.restore();
  },
};

export class LineChart {
  // kind: {title, stacked, max, format, lines: [{of: 'p99', dash, fill}]}
  constructor(kind) {
    this.kind = kind;
    this.canvas = el('canvas', {role: 'img'});
    this.legend = el('span', {class: 'legend'});
    this.node = el('figure', {class: 'chart'},
      el('figcaption', {}, kind.title, this.legend), el('div', {class: 'plot'}, this.canvas));
    this.chart = null;
  }

  // In the page first: Chart.js measures where it is.
  begin() {
    this.chart = new window.Chart(this.canvas, {
      type: 'line',
      data: {datasets: []},
      plugins: [marks],
      options: {
        animation: false,
        responsive: true,
        maintainAspectRatio: false,
        parsing: false,
        normalized: true,
        events: ['mousemove', 'mouseout', 'touchstart', 'touchmove'],
        interaction: {mode: 'index', intersect: false},
        elements: {point: {radius: 0, hitRadius: 6}, line: {borderWidth: 2, cubicInterpolationMode: 'monotone'}},
        plugins: {
          legend: {display: false},
          marks: {times: []},
          tooltip: {callbacks: {
            title: (items) => `${formatSpan(-items[0].parsed.x)} ago`,
            label: (item) => ` ${item.dataset.label}: ${this.kind.format(item.parsed.y)}`,
          }},
        },
        scales: {
          x: {type: 'linear', min: -REACHES[0][0], max: 0, grid: {display: false}, ticks: {maxRotation: 0,
            callback: (x) => (x === 0 ? 'now' : formatSpan(-x))}},
          y: {min: 0, max: this.kind.max, suggestedMax: this.kind.suggestedMax, stacked: Boolean(this.kind.stacked),
            border: {display: false}, afterFit: (axis) => { axis.width = 58; },
            ticks: {maxTicksLimit: 5, callback: (y) => this.kind.format(y).replace(/\.0+ /, ' ')}},
        },
      },
    });
    this.paint();
  }

  paint() {
    const {options} = this.chart;
    for (const axis of [options.scales.x, options.scales.y]) {
      axis.ticks.color = css('--muted');
      axis.grid.color = css('--line');
      axis.grid.drawBorder = false;
    }
    options.font = {family: getComputedStyle(document.body).fontFamily, size: 11};
    window.Chart.defaults.font.family = options.font.family;
    window.Chart.defaults.font.size = 11;
  }

  // series: [{version, index, points}]; now: seconds; times: the marks' [{time, bad}]
  update(series, now, times) {
    const sets = series.flatMap(({version, index, points}) => this.kind.lines.map((line) => ({
      label: this.kind.lines.length > 1 ? `${version} ${line.of}` : version,
      data: points.map((point) => ({x: point.time - now, y: point[line.of] ?? (this.kind.stacked ? 0 : NaN)})),
      borderColor: css(`--v${index}`),
      backgroundColor: css(`--v${index}-soft`),
      borderDash: line.dash || [],
      borderWidth: line.dash ? 1.25 : 2,
      fill: this.kind.stacked ? 'stack' : false,
    })));
    const old = this.chart.data.datasets;
    this.chart.data.datasets = sets.map((set, i) => Object.assign(old[i] || {}, set));
    const oldest = Math.max(0, ...series.map(({points}) => now - (points[0]?.time ?? now)));
    const [reach, step] = REACHES.find(([seconds]) => seconds >= oldest - 1) || REACHES.at(-1);
    this.chart.options.scales.x.min = -reach;
    this.chart.options.scales.x.ticks.stepSize = step;
    this.chart.options.plugins.marks.times = times.map(({time, bad}) => ({x: time - now, bad}));
    this.chart.update('none');
    const latest = series.map(({version, points}) =>
      `${version} ${this.kind.format(points.at(-1)?.[this.kind.lines[0].of])}`);
    sync(this.legend, series, ({version}) => version, ({version, index}) => {
      const name = el('span', {}, swatch(index));
      name.append(version);
      return name;
    });
    setAttribute(this.canvas, 'aria-label', `${this.kind.title} over the last minutes; now: ${latest.join(', ') || 'nothing'}`);
  }

  end() {
    this.chart?.destroy();
  }
}

// ---- Who talks which version to whom ----

const FLOW_TOP = 22; // room for the two titles
const FLOW_BAR = 10;
const FLOW_GAP = 14;
const FLOW_LEAST = 4; // a ribbon's width, if it carries anything

// Stacks one side's versions: {version: {y, height, next}}.
function stack(flows, side, scale) {
  const bars = new Map();
  let y = FLOW_TOP;
  for (const flow of [...flows].sort((a, b) => (a[side] < b[side] ? -1 : 1)))
    if (!bars.has(flow[side])) {
      const height = flows.filter((other) => other[side] === flow[side])
        .reduce((sum, other) => sum + scale(other.rate), 0);
      bars.set(flow[side], {y, height, next: y});
      y += Math.max(height, 18) + FLOW_GAP;
    }
  return bars;
}

function ribbon(x0, y0, x1, y1, width) {
  const middle = (x0 + x1) / 2;
  return `M${x0} ${y0}C${middle} ${y0} ${middle} ${y1} ${x1} ${y1}v${width}` +
    `C${middle} ${y1 + width} ${middle} ${y0 + width} ${x0} ${y0 + width}z`;
}

export function flowLabel(flow) {
  const how = flow.asked === flow.served ? 'as it is' : `translated, ${flow.offer?.translation || 'class unknown'}`;
  return `clients of ${flow.asked} served by ${flow.served}: ${formatRate(flow.rate)} calls/s, ${how}`;
}

export function drawFlows(picture, flows, versions) {
  const width = Math.max(picture.clientWidth, 200);
  const height = 168;
  const total = flows.reduce((sum, flow) => sum + flow.rate, 0);
  const rows = Math.max(new Set(flows.map((flow) => flow.asked)).size, new Set(flows.map((flow) => flow.served)).size);
  const room = height - FLOW_TOP - rows * FLOW_GAP - flows.length * FLOW_LEAST;
  const scale = (rate) => FLOW_LEAST + (Math.max(room, 20) * rate) / total;
  const [left, right] = [stack(flows, 'asked', scale), stack(flows, 'served', scale)];
  const [x0, x1] = [62, width - 62];
  const nodes = [
    svg('text', {x: 0, y: 12, class: 'flow-title'}, 'clients of'),
    svg('text', {x: width, y: 12, class: 'flow-title', 'text-anchor': 'end'}, 'served by'),
  ];
  for (const flow of flows) {
    const [a, b] = [left.get(flow.asked), right.get(flow.served)];
    const thick = scale(flow.rate);
    nodes.push(svg('path', {d: ribbon(x0 + FLOW_BAR, a.next, x1 - FLOW_BAR, b.next, thick), class: 'ribbon',
      'data-colour': colourIndex(versions, flow.served)}, svg('title', {}, flowLabel(flow))));
    a.next += thick;
    b.next += thick;
  }
  for (const [bars, x, anchor, text] of [[left, x0, 'end', x0 - 8], [right, x1 - FLOW_BAR, 'start', x1 + 8]])
    for (const [version, bar] of bars) {
      nodes.push(svg('rect', {x, y: bar.y, width: FLOW_BAR, height: bar.height, rx: 2, class: 'bar',
        'data-colour': colourIndex(versions, version)}));
      nodes.push(svg('text', {x: text, y: bar.y + bar.height / 2 + 4, 'text-anchor': anchor}, short(version)));
    }
  setAttribute(picture, 'viewBox', `0 0 ${width} ${height}`);
  setAttribute(picture, 'aria-label', flows.length > 0 ? flows.map(flowLabel).join('; ') : 'no calls in the last seconds');
  picture.replaceChildren(...(flows.length > 0 ? nodes : [svg('text', {x: width / 2, y: height / 2, class: 'flow-title',
    'text-anchor': 'middle'}, 'no calls in the last seconds')]));
}

function short(version) {
  return version.length > 8 ? `${version.slice(0, 7)}…` : version;
}
