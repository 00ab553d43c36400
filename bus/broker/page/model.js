// From what the broker has counted since its start to figures of the last seconds.
//
// Counters only rise; two readings of them, subtracted, are what happened in between. Each reading
// becomes one sample of each interface, and samples are kept for as long as the charts reach back.
// Nothing here touches the page.

export const KEEP_S = 300; // the charts' reach
const WINDOW_S = 5; // what the figures in the tables are of
const REJOIN_S = 5; // after a restart of the broker, endpoints bring what they counted before it

// The statuses that are a server's fault, as OpenTelemetry lists them for gRPC; the same as in the gates.
const FAULTS = new Set(['UNKNOWN', 'DEADLINE_EXCEEDED', 'INTERNAL', 'UNAVAILABLE', 'DATA_LOSS', 'UNIMPLEMENTED']);

class Count {
  ended = 0;
  errors = 0;
  translated = 0;
  buckets = new Map(); // lowest value in ns: calls

  add(other, sign = 1) {
    this.ended += sign * other.ended;
    this.errors += sign * other.errors;
    this.translated += sign * other.translated;
    for (const [floor, count] of other.buckets)
      this.buckets.set(floor, (this.buckets.get(floor) || 0) + sign * count);
    return this;
  }

  // In ns, the middle of the bucket; null if nothing was counted. Buckets: bus/base/histogram.h.
  quantile(q) {
    const sorted = [...this.buckets].filter(([, count]) => count > 0).sort((a, b) => a[0] - b[0]);
    const total = sorted.reduce((sum, [, count]) => sum + count, 0);
    let left = q * total;
    for (const [floor, count] of sorted) {
      left -= count;
      if (left <= 0)
        return floor < 8 ? floor : floor + 2 ** (Math.floor(Math.log2(floor)) - 3) / 2;
    }
    return null;
  }

  get errorShare() {
    return this.ended > 0 ? this.errors / this.ended : null;
  }
}

function readMethod(method) {
  const count = new Count();
  for (const [status, n] of Object.entries(method.by_status || {})) {
    count.ended += n;
    if (FAULTS.has(status))
      count.errors += n;
  }
  count.translated = method.translated || 0;
  count.buckets = new Map(method.latency?.buckets || []);
  return count;
}

// { interface: { flows: { "asked served": Count }, flight } } of the clients' side, which sees whole calls.
function readStats(stats) {
  const interfaces = new Map();
  for (const method of stats.methods) {
    if (method.side !== 'client')
      continue;
    if (!interfaces.has(method.interface))
      interfaces.set(method.interface, {flows: new Map(), flight: new Map()});
    const {flows, flight} = interfaces.get(method.interface);
    const key = `${method.asked || '?'} ${method.served || ''}`;
    flows.set(key, (flows.get(key) || new Count()).add(readMethod(method)));
    flight.set(method.served, (flight.get(method.served) || 0) + (method.in_flight || 0));
  }
  return interfaces;
}

// "2.10.0" behind "2.9.0"; a pre-release before its release.
export function compareVersions(a, b) {
  const [x, y] = [a, b].map((text) => text.split(/[-+]/));
  const [p, q] = [x[0].split('.'), y[0].split('.')];
  for (let i = 0; i < 3; i++)
    if (Number(p[i]) !== Number(q[i]))
      return Number(p[i]) - Number(q[i]) || 0;
  if (!x[1] !== !y[1])
    return x[1] ? -1 : 1;
  return a.localeCompare(b, 'en', {numeric: true});
}

class Interface {
  constructor(name) {
    this.name = name;
    this.info = null; // of /list
    this.samples = []; // oldest first: {time, seconds, flows, points}
    this.flight = new Map();
    this.versions = []; // all that were seen, by precedence
  }

  know(version) {
    if (version && !this.versions.includes(version)) {
      this.versions.push(version);
      this.versions.sort(compareVersions);
    }
  }

  // What ended in the last seconds: of all, of one version, or of one pair.
  window(match = () => true) {
    const count = new Count();
    let seconds = 0;
    const last = this.samples.at(-1);
    for (const sample of this.samples) {
      if (sample.time <= last.time - WINDOW_S)
        continue;
      seconds += sample.seconds;
      for (const [key, flow] of sample.flows)
        if (match(...key.split(' ')))
          count.add(flow);
    }
    return {count, rate: seconds > 0 ? count.ended / seconds : null};
  }

  flows() {
    const flows = [];
    const keys = new Set(this.samples.slice(-WINDOW_S).flatMap((sample) => [...sample.flows.keys()]));
    for (const key of keys) {
      const [asked, served] = key.split(' ');
      const {count, rate} = this.window((a, s) => a === asked && s === served);
      if (served && rate > 0)
        flows.push({asked, served, rate, translated: count.translated > 0, offer: this.offer(asked, served)});
    }
    return flows.sort((a, b) => compareVersions(a.asked, b.asked) || compareVersions(a.served, b.served));
  }

  offer(asked, served) {
    return this.info?.offers?.find((offer) => offer.client_version === asked && offer.version === served);
  }

  // The points of a version's lines, one for each sample.
  series(version) {
    return this.samples.map((sample) => ({time: sample.time, ...sample.points.get(version)}));
  }
}

// What the charts draw of one sample: by version {share, errors: per cent, p50, p99: ns}.
function pointsOf(flows) {
  const counts = new Map();
  let all = 0;
  for (const [key, flow] of flows) {
    const served = key.split(' ')[1];
    if (served) {
      counts.set(served, (counts.get(served) || new Count()).add(flow));
      all += flow.ended;
    }
  }
  const points = new Map();
  for (const [version, count] of counts)
    points.set(version, {share: (100 * count.ended) / all, errors: 100 * count.errorShare,
      p50: count.quantile(0.5), p99: count.quantile(0.99)});
  return points;
}

export class Bus {
  interfaces = new Map();
  last = null; // the reading before: {stats, counts}
  restarted = false;

  take(list, stats) {
    const time = stats.time_unix_ns / 1e9;
    const counts = readStats(stats);
    const sameBroker = this.last?.stats.broker_id === stats.broker_id;
    this.restarted ||= this.last !== null && !sameBroker;
    const settled = sameBroker && !(this.restarted && stats.uptime_ns < REJOIN_S * 1e9);
    for (const info of list.interfaces)
      this.interface(info.interface).info = info;
    for (const name of counts.keys())
      if (name !== '(other)')
        this.interface(name);
    for (const one of this.interfaces.values())
      this.takeInterface(one, list, counts.get(one.name), settled, time, stats);
    this.last = {stats, counts};
  }

  interface(name) {
    if (!this.interfaces.has(name))
      this.interfaces.set(name, new Interface(name));
    return this.interfaces.get(name);
  }

  takeInterface(one, list, now, settled, time, stats) {
    if (!list.interfaces.some((info) => info.interface === one.name))
      one.info = null;
    for (const version of one.info?.versions || [])
      one.know(version.version);
    one.flight = now?.flight || new Map();
    const before = this.last?.counts.get(one.name);
    const flows = new Map();
    for (const [key, count] of settled && now ? now.flows : []) {
      one.know(key.split(' ')[1]);
      const old = before?.flows.get(key);
      const change = new Count().add(count);
      if (old)
        change.add(old, -1);
      if (change.ended > 0)
        flows.set(key, change);
    }
    if (settled)
      one.samples.push({time, flows, points: pointsOf(flows), seconds: (stats.uptime_ns - this.last.stats.uptime_ns) / 1e9});
    while (one.samples.length > 0 && one.samples[0].time < time - KEEP_S)
      one.samples.shift();
  }

  // Of the whole bus.
  total() {
    const total = {rate: null, errors: null, flight: 0};
    const sum = new Count();
    for (const one of this.interfaces.values()) {
      const {count, rate} = one.window();
      sum.add(count);
      if (rate !== null)
        total.rate = (total.rate || 0) + rate;
      for (const flight of one.flight.values())
        total.flight += flight;
    }
    total.errors = sum.errorShare;
    return total;
  }
}
