"""The page at /, in a real headless Chromium, beside a real bus.

test_page.py PARLEY PARLEYD CATALOG-V1 CATALOG-V2 CLIENT-V1 CLIENT-V2

One bus, one browser, one page from its opening to the broker's end and return. Nothing waits by the clock: each step
waits for what the page shows, under one watchdog. Skipped (77) where there is no Chromium.
"""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import browser as chromium

WATCHDOG_S = 90
PARLEY, PARLEYD, CATALOG_V1, CATALOG_V2, CLIENT_V1, CLIENT_V2 = [os.path.abspath(path) for path in sys.argv[1:7]]
MARKUP = '<img src=x onerror=alert(1)>'  # a peer's name

# Of all text that is shown: colour against what is behind it, as WCAG counts it. Gives what is below 4.5:1.
CONTRAST = r'''(() => {
  const parse = (text) => {
    const n = text.match(/-?[\d.]+(e-?\d+)?/g).map(Number);
    return text.startsWith('color(') ? [n[0] * 255, n[1] * 255, n[2] * 255, n[3] ?? 1] : [n[0], n[1], n[2], n[3] ?? 1];
  };
  const over = (a, b) => [0, 1, 2].map((i) => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
  const luminance = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
    const v = c[i] / 255;
    return sum + weight * (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  }, 0);
  const behind = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255, 1]);
  };
  const bad = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.data.trim(), node = walker.currentNode.parentElement;
    if (!text || node.closest('svg, noscript') || !node.checkVisibility() || !node.getClientRects().length) continue;
    const ground = behind(node), ink = over(parse(getComputedStyle(node).color), ground);
    const [a, b] = [luminance(ink), luminance(ground)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) bad.push(`${text.slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return bad;
})()'''

NAMELESS = '''[...document.querySelectorAll('button, canvas, svg, img, summary, [role=img]')].filter((node) => node.checkVisibility() &&
  !(node.getAttribute('aria-label') || node.textContent.trim() || node.getAttribute('alt') === '')).map((node) => node.outerHTML)'''


ROLLOUT = '''
apiVersion: parley.dev/v1alpha1
kind: Rollout
metadata: {name: NAME}
spec:
  interface: catalog
  stable: ~1.0
  canary: ~2.0
  steps: [{weight: 10, approval: true}, {weight: 60, approval: true}]
  gates: {minCalls: 10, interval: 100ms, consecutiveSuccessLimit: 1, maxErrorRate: 100%, maxP99Ratio: 100}
'''


class Bus:
    """A broker in a folder of its own, and what joins it."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix='parley-page.')
        self.environment = {**os.environ, 'PARLEY_DIR': self.folder, 'NO_COLOR': '1'}
        for name in ('PARLEY_CONTROL', 'PARLEY_EVENTS', 'PARLEY_BUS', 'PARLEY_BROKER'):
            self.environment.pop(name, None)
        self.processes = []
        self.broker = None

    def start(self, *command, stdout=subprocess.DEVNULL):
        process = subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=stdout,
                                   stderr=subprocess.STDOUT, text=True)
        self.processes.append(process)
        return process

    def start_broker(self, url, *options):
        """Its URL, once it is ready."""
        self.broker = self.start(PARLEYD, '--http', url, *options, stdout=subprocess.PIPE)
        return re.search(r' http=(\S+)', self.wait_log('parleyd: ready')).group(1)

    def stop_broker(self):
        self.broker.kill()
        self.broker.wait()

    def parley(self, *arguments, stdin=''):
        done = subprocess.run([PARLEY, *arguments], env=self.environment, input=stdin, capture_output=True, text=True,
                              timeout=WATCHDOG_S, check=False)
        if done.returncode != 0:
            raise SystemExit(f'parley {arguments}: {done.returncode}: {done.stderr}')
        return done.stdout

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text)
        return path

    def wait_log(self, words):
        """Until the broker has said so, from where its log was read to."""
        for line in self.broker.stdout:
            if words in line:
                return line
        raise SystemExit(f'parleyd ended without a word of "{words}"')

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def check(true, what):
    if not true:
        raise chromium.Failure(what)


def ask(url, method, path, **headers):
    """(status, body) of a request that no browser makes."""
    connection = http.client.HTTPConnection(url.split('//')[1], timeout=20)
    connection.request(method, path, headers={name.replace('_', '-'): value for name, value in headers.items()})
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body, answer.headers


# ---- The page ----

def cell(version, column):
    """JavaScript: the number in a row of the table of versions."""
    return (f'parseFloat([...document.querySelectorAll("tbody tr")].find((row) => row.dataset.key === "{version}")'
            f'.children[{column}].textContent)')


SHARE, SET_TO, RATE = 1, 2, 3


def test_shows_what_runs(page, bus):
    page.wait('document.getElementById("link").dataset.state === "live"')
    page.wait('document.querySelectorAll("tbody tr").length === 2', 'two versions of one interface')
    page.wait(f'{cell("1.0.0", SHARE)} === 100 && {cell("1.0.0", RATE)} > 0', 'all calls go to 1.0.0')
    page.wait('document.querySelectorAll(".flows .ribbon").length === 2', 'clients of both versions are served by 1.0.0')
    check(page.run('document.querySelector("#interfaces h2").textContent') == 'catalog', 'the interface has its name')
    text = page.run('document.querySelector("#interfaces details .plain").textContent')
    check(MARKUP in text, f'the name of a peer is shown as it is: {text}')
    check(page.run('document.querySelectorAll("img[src=x]").length') == 0, 'the name of a peer became markup')


def test_shows_a_route_moving(page, bus):
    bus.parley('route', 'catalog', '1.0.0=50', '2.0.0=50')
    page.wait(f'{cell("2.0.0", SET_TO)} === 50 && Math.abs({cell("2.0.0", SHARE)} - 50) < 15', 'half of the calls go to 2.0.0')
    page.wait('document.querySelectorAll(".flows .ribbon").length === 4', 'each version talks to each')
    page.wait('[...document.querySelectorAll("#events p")].some((text) => text.textContent.includes("is routed: 1.0.0 50 %"))',
              'the event is listed')
    if page.run('typeof Chart') == 'function':
        page.wait('''[...document.querySelectorAll("canvas")].slice(0, 2).every((canvas) => {
            const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return Chart.getChart(canvas).data.datasets.length >= 2 && data.some((value) => value !== 0);
        })''', 'the charts are drawn')
    else:
        check(page.run('document.getElementById("no-charts").checkVisibility()'), 'without charts the page says so')


def test_can_be_read(page, bus):
    grounds = []
    for scheme in ('light', 'dark'):
        page.scheme(scheme)
        grounds.append(page.run('getComputedStyle(document.body).backgroundColor'))
        for width, height in ((1280, 900), (375, 800)):
            page.size(width, height, width < 400)
            weak = page.run(CONTRAST)
            check(not weak, f'{scheme}, {width}: too little contrast: {weak}')
    check(grounds[0] != grounds[1], 'dark is as light')
    nameless = page.run(NAMELESS)
    check(not nameless, f'without a name for who does not see it: {nameless}')
    for width in (375, 320):
        page.size(width, 800, True)
        wide = page.run('document.documentElement.scrollWidth')
        check(wide <= width, f'{wide} pixels are too wide for {width}')
    page.size(1280, 900)


def tab_to(page, condition, what):
    """Presses Tab until what has the focus fits."""
    for _ in range(60):
        page.key('Tab', 9)
        if page.run(f'(() => {{ const at = document.activeElement; return Boolean({condition}); }})()'):
            outline = page.run('getComputedStyle(document.activeElement).outlineStyle')
            check(outline != 'none', f'{what} has the focus, but does not show it')
            return
    raise chromium.Failure(f'Tab does not reach {what}')


def test_works_by_keyboard(page, bus):
    tab_to(page, 'at.id === "freeze"', 'the button Freeze')
    page.key('Enter', 13)
    page.wait('document.getElementById("freeze").getAttribute("aria-pressed") === "true"')
    page.key('Enter', 13)
    page.wait('document.getElementById("link").dataset.state === "live"')
    tab_to(page, 'at.tagName === "SUMMARY" && at.textContent === "Instances"', 'the instances')
    page.key('Enter', 13)
    page.wait('document.activeElement.parentElement.open')
    tab_to(page, 'at.id === "events"', 'the events')


def rollout(condition):
    """JavaScript over the panel of a rollout: badge, weight, why, and what is shown of a button."""
    return f"""(() => {{
        const panel = document.querySelector(".rollout");
        const badge = panel.querySelector(".badge").textContent, weight = parseFloat(panel.querySelector(".weight").textContent);
        const why = panel.querySelector(".why").textContent;
        const button = (name) => panel.querySelector(`[data-action=${{name}}]`).checkVisibility();
        return {condition};
    }})()"""


def test_shows_a_rollout_moving(page, bus):
    bus.parley('rollout', 'apply', bus.write('first.yaml', ROLLOUT.replace('NAME', 'first')))
    page.wait(rollout('badge === "Waits for approval" && weight === 10'), 'the first step')
    page.wait('document.querySelectorAll(".steps li").length === 2 && document.querySelectorAll(".gates li").length === 3',
              'steps and gates')
    bus.parley('rollout', 'approve', 'first')
    page.wait(rollout('badge === "Waits for approval" && weight === 60'), 'the second step')
    page.wait('document.querySelector(".steps [aria-current=step]").dataset.key === "1"', 'and shows it')
    bus.parley('rollout', 'approve', 'first')
    page.wait(rollout('badge === "Completed" && weight === 100 && !button("pause") && button("rollback")'), 'all to the canary')
    page.wait(f'{cell("2.0.0", SHARE)} === 100', 'all calls go to 2.0.0')
    bus.parley('rollout', 'delete', 'first')
    page.wait('!document.querySelector(".rollout")', 'the rollout is gone')


def test_steers_a_rollout_by_keyboard(page, bus):
    bus.parley('rollout', 'apply', bus.write('second.yaml', ROLLOUT.replace('NAME', 'second')))
    page.wait(rollout('weight === 10 && button("approve") && button("pause") && !button("resume")'), 'the first step')
    tab_to(page, 'at.dataset.action === "approve"', 'Approve')
    page.key('Enter', 13)
    page.wait(rollout('badge === "Waits for approval" && weight === 60'), 'the second step')
    page.wait(f'{cell("2.0.0", SHARE)} > 40', 'most calls go to 2.0.0')
    weak = page.run(CONTRAST)
    check(not weak, f'too little contrast: {weak}')
    tab_to(page, 'at.dataset.action === "pause"', 'Pause')
    page.key('Enter', 13)
    page.wait(rollout('badge === "Paused" && button("resume") && !button("pause")'), 'paused')
    tab_to(page, 'at.dataset.action === "resume"', 'Resume')
    page.key('Enter', 13)
    page.wait(rollout('badge === "Waits for approval" || badge === "Progressing"'), 'goes on')
    tab_to(page, 'at.dataset.action === "rollback"', 'Roll back')
    page.key('Enter', 13)
    page.wait('document.getElementById("sure").open', 'it asks first')
    page.key('Escape', 27)
    page.wait('!document.getElementById("sure").open')
    check(page.run(rollout('weight === 60')), 'Escape changes nothing')
    page.wait('document.activeElement.dataset.action === "rollback"', 'the focus is back where it was')
    page.key('Enter', 13)
    tab_to(page, 'at.id === "sure-yes"', 'the answer')
    page.key('Enter', 13)
    page.wait(rollout('badge === "Rolled back" && weight === 0 && why.includes("calls met 2.0.0")'), 'rolled back')
    sent = [url for url in page.requests() if url.endswith('/rollouts/second/rollback')]
    check(len(sent) == 1, f'one question, one request: {sent}')
    page.wait(f'{cell("1.0.0", SHARE)} === 100', 'all calls go to 1.0.0')
    page.wait('[...document.querySelectorAll("#events li[data-tone=bad] p")].some((text) => text.textContent.includes("second"))',
              'the event is listed')
    weak = page.run(CONTRAST)
    check(not weak, f'too little contrast: {weak}')
    status, body, _ = ask(page.url, 'POST', '/rollouts/second/pause', X_Parley_Control='1')
    check(status == 409 and json.loads(body)['error'], f'what cannot be done now: {status} {body}')
    for path in ('/rollouts/second/destroy', '/rollouts/second', '/rollouts/', '/rollouts/' + 'x' * 64 + '/pause'):
        status, body, _ = ask(page.url, 'POST', path, X_Parley_Control='1')
        check(status == 404, f'{path}: {status} {body}')


def test_refuses_strangers(page, bus):
    url, path, ours = page.url, '/rollouts/none/pause', {'X_Parley_Control': '1'}
    for wanted, method, at, headers in (
            (403, 'POST', path, {}),
            (403, 'POST', path, {**ours, 'Origin': 'http://evil.example'}),
            (403, 'POST', path, {**ours, 'Sec_Fetch_Site': 'cross-site'}),
            (403, 'POST', path, {**ours, 'Sec_Fetch_Site': 'same-site'}),
            (404, 'POST', path, ours),
            (404, 'POST', path, {**ours, 'Origin': url, 'Sec_Fetch_Site': 'same-origin'}),
            (405, 'GET', path, ours),
            (400, 'GET', '/events?since=-1', {}),
            (400, 'GET', '/events?since=99999999999999999999', {}),
            (200, 'GET', '/events?since=18446744073709551615', {})):
        status, body, _ = ask(url, method, at, **headers)
        check(status == wanted, f'{method} {at} {headers}: {status} instead of {wanted}: {body}')
    policy = ask(url, 'GET', '/')[2]['Content-Security-Policy']
    check("default-src 'none'" in policy and 'unsafe' not in policy, f'the policy is {policy}')
    everything = json.loads(ask(url, 'GET', '/events')[1])
    audited = [event['text'] for event in everything['events'] if event['topic'] == 'audit.http']
    check(len(audited) == 4 and all(text.startswith(f'POST {path} was refused') for text in audited), f'in the audit trail: {audited}')
    check(everything['events'][-1]['sequence'] == everything['last'], 'the last event is the last')


def test_asks_nobody_else(page, bus):
    strange = [url for url in page.requests() if not url.startswith(page.url + '/')]
    check(not strange, f'requests to others: {strange}')
    complaints = page.complaints()
    check(not complaints, f'the console says: {complaints}')


def test_comes_back_with_the_broker(page, bus):
    bus.stop_broker()
    page.wait('document.getElementById("link").dataset.state === "away"', 'it says that the broker is away')
    url = bus.start_broker(page.url)
    check(url == page.url, 'the broker is where it was')
    page.wait('document.getElementById("link").dataset.state === "live"', 'it finds the broker again')
    page.wait('document.querySelectorAll("tbody tr:not(.gone)").length === 2', 'and what runs')
    page.wait(rollout('badge === "Rolled back"'), 'and the rollout, as it was')
    check(page.run('document.getElementById("view-only").checkVisibility()'), 'it says that it can only be watched')
    check(page.run('[...document.querySelectorAll("[data-action]")].every((button) => !button.checkVisibility())'),
          'no buttons without --allow-control')
    status, body, _ = ask(page.url, 'POST', '/rollouts/none/pause', X_Parley_Control='1')
    check(status == 403 and 'allow-control' in body, f'without --allow-control: {status} {body}')


TESTS = [test_shows_what_runs, test_shows_a_route_moving, test_can_be_read, test_works_by_keyboard,
         test_shows_a_rollout_moving, test_steers_a_rollout_by_keyboard, test_refuses_strangers,
         test_asks_nobody_else, test_comes_back_with_the_broker]


def main():
    if not chromium.find():
        print('SKIP: there is no Chromium here')
        return 77
    for number in (signal.SIGTERM, signal.SIGALRM):  # so that all is reaped
        signal.signal(number, lambda number, _: sys.exit(f'ended by signal {number}'))
    signal.alarm(WATCHDOG_S + 30)
    bus = Bus()
    try:
        url = bus.start_broker('http://127.0.0.1:0', '--allow-control')
        bus.start(CATALOG_V1, '--name', MARKUP)
        bus.wait_log('catalog 1.0.0')  # whoever is first gets all calls
        bus.start(CATALOG_V2)
        bus.start(CLIENT_V1, '--window', '2')
        bus.start(CLIENT_V2)
        with chromium.Browser(WATCHDOG_S) as page:
            page.url = url
            page.size(1280, 900)
            page.go(url + '/')
            for test in TESTS:
                test(page, bus)
                print(f'ok: {test.__name__}', flush=True)
    except chromium.Failure as failure:
        print(f'FAILED: {failure}')
        return 1
    finally:
        bus.close()
    return 0


sys.exit(main())
