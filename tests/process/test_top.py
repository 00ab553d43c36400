"""`parley top` in a terminal, beside a real bus: test_top.py PARLEY PARLEYD CATALOG-V1 CATALOG-V2 CLIENT-V1"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

import terminal

PARLEY, PARLEYD, CATALOG_V1, CATALOG_V2, CLIENT_V1 = [os.path.abspath(path) for path in sys.argv[1:6]]

WATCHDOG_S = 90

folder = tempfile.mkdtemp(prefix='parley-top.')
environment = {**os.environ, 'PARLEY_DIR': folder, 'TERM': 'xterm', 'LC_ALL': 'C.UTF-8'}
for name in ('PARLEY_CONTROL', 'PARLEY_EVENTS', 'PARLEY_BUS', 'PARLEY_BROKER', 'NO_COLOR', 'LINES', 'COLUMNS'):
    environment.pop(name, None)
processes = []


def check(true, what):
    if not true:
        raise terminal.Failure(what)


def start(*command, stdout=subprocess.DEVNULL):
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.STDOUT,
                               text=True)
    processes.append(process)
    return process


def wait_log(process, words):
    for line in process.stdout:
        if words in line:
            return
    raise SystemExit(f'parleyd ended without a word of "{words}"')


def start_broker():
    process = start(PARLEYD, stdout=subprocess.PIPE)
    wait_log(process, 'parleyd: ready')
    return process


def top(*options, term='xterm', **size):
    return terminal.Terminal([PARLEY, 'top', '--interval', '200ms', *options], {**environment, 'TERM': term}, **size)


def shows(*words):
    return lambda screen: all(word in screen.text() for word in words)


def has_rates(screen):
    """Both versions have their share."""
    lines = [line.split() for line in screen.text().splitlines() if line.startswith('catalog')]
    return len(lines) == 2 and all(line[2] != '-' and line[3] == '%' for line in lines)


def test_shows_versions_and_events():
    with top() as screen:
        screen.wait(has_rates, 'shares of both versions')
        check(screen.line(0).startswith('parley top: ') and 'calls/s' in screen.line(0), 'the first line tells of all')
        check(screen.line(1).split()[:3] == ['INTERFACE', 'VERSION', 'SHARE'], 'titles')
        check(shows('LAST EVENTS', 'instance.up', 'catalog 2.0.0')(screen), 'the last events')
        check('q quit' in screen.line(23), 'keys in the last line')
        screen.type('q')
        check(screen.end() == 0, 'q ends it')
        check('\x1b[?1049h' in screen.raw and screen.raw.rstrip().endswith('\x1b>'), 'xterm: the screen is given back')
        check(screen.raw.count('\x1b[?1049l') == 1 and '\x1b[?25h' in screen.raw, 'and the cursor')


def test_keys_sort_pause_and_scroll():
    with top(rows=8) as screen:
        screen.wait(has_rates, 'shares of both versions')
        order = [line.split()[1] for line in screen.text().splitlines() if line.startswith('catalog')]
        check(order == ['1.0.0', '2.0.0'], f'by name: {order}')
        screen.type('r')
        screen.wait(lambda s: [line.split()[1] for line in s.text().splitlines() if line.startswith('catalog')] ==
                    ['2.0.0', '1.0.0'], 'by rate the busier one is first')
        screen.type('p')
        screen.wait(shows('PAUSED'), 'paused')
        screen.type('p')
        screen.wait(lambda s: 'PAUSED' not in s.text(), 'goes on')
        screen.type('\x1b[B\x1b[B' if '\x1b[?1h' not in screen.raw else '\x1bOB\x1bOB')
        screen.wait(lambda s: s.line(1).startswith('catalog 1.0.0') or 'INTERFACE' not in s.text(), 'scrolled down')
        screen.type('\x1b[A\x1b[A' if '\x1b[?1h' not in screen.raw else '\x1bOA\x1bOA')
        screen.wait(lambda s: s.line(1).startswith('INTERFACE'), 'scrolled back')
        screen.type('q')
        check(screen.end() == 0, 'q ends it')


def test_follows_the_size_of_the_window():
    with top() as screen:
        screen.wait(has_rates, 'shares of both versions')
        screen.resize(40, 120)
        screen.wait(lambda s: 'q quit' in s.line(39) and 'arrows' in s.line(39), 'the last line is at the new end')
        screen.resize(10, 30)
        screen.wait(lambda s: 'q quit' in s.line(9), 'and at a nearer one')
        for rows, columns in ((2, 12), (1, 1)):
            screen.resize(rows, columns)
            screen.wait(lambda s: s.line(0)[:1] == 'p', 'so little room that only the first line is left')
        screen.resize(24, 80)
        screen.wait(lambda s: has_rates(s) and 'q quit' in s.line(23), 'and back')
        screen.type('q')
        check(screen.end() == 0, 'q ends it')


def test_terminals_of_all_kinds():
    for term, extra, coloured in (('xterm', {}, True), ('xterm', {'NO_COLOR': '1'}, False), ('vt100', {}, False)):
        with terminal.Terminal([PARLEY, 'top', '--interval', '200ms'], {**environment, **extra, 'TERM': term}) as screen:
            screen.wait(has_rates, f'{term}: shares of both versions')
            check(('\x1b[36m' in screen.raw) == coloured, f'{term} {extra}: colours: {not coloured}')
            screen.type('q')
            check(screen.end() == 0, 'q ends it')
    with top(term='nonsense') as screen:
        check(screen.end() == 5, 'a terminal that is not known')
        check("'nonsense' is not known" in screen.raw and '--batch' in screen.raw, f'and says so: {screen.raw}')


def test_ends_with_signals_and_with_its_terminal():
    with top() as screen:
        screen.wait(has_rates, 'shares of both versions')
        screen.type('\x03')
        check(screen.end() == 0 and '\x1b[?1049l' in screen.raw, 'Ctrl-C gives the screen back')
    with top() as screen:
        screen.wait(has_rates, 'shares of both versions')
        os.kill(screen.pid, signal.SIGTERM)
        check(screen.end() == 0 and '\x1b[?1049l' in screen.raw, 'SIGTERM gives the screen back')
    with top() as screen:
        screen.wait(has_rates, 'shares of both versions')
        screen.hang_up()
        check(screen.end() in (0, 5, -signal.SIGHUP), 'without a terminal it ends')


def test_prints_without_a_terminal():
    run = subprocess.run([PARLEY, 'top', '--count', '2', '--interval', '100ms'], env=environment, capture_output=True, text=True,
                         timeout=60, check=False)
    check(run.returncode == 0 and run.stdout.count('INTERFACE') == 2 and '\x1b' not in run.stdout, f'two rounds: {run}')
    run = subprocess.run([PARLEY, 'top', '--once', '--json', '--interval', '100ms', '--sort', 'rate'], env=environment,
                         capture_output=True, text=True, timeout=60, check=False)
    answer = json.loads(run.stdout)
    check([version['version'] for version in answer['versions']] == ['2.0.0', '1.0.0'], f'sorted: {answer["versions"]}')
    check(abs(answer['versions'][0]['share_percent'] - 70) < 25 and answer['calls_per_s'] > 0, 'figures')
    check(answer['events'][0]['topic'] == 'broker', 'events, oldest first')
    run = subprocess.run([PARLEY, 'top', '--sort', 'beauty'], env=environment, capture_output=True, text=True, timeout=60, check=False)
    check(run.returncode == 2 and 'in-flight' in run.stderr, f'a wrong key: {run}')


ROLLOUT = '''
apiVersion: parley.dev/v1alpha1
kind: Rollout
metadata: {name: second}
spec:
  interface: catalog
  stable: ~1.0
  canary: ~2.0
  steps: [{weight: 10, approval: true}, {weight: 60, approval: true}]
  gates: {minCalls: 10, interval: 100ms, consecutiveSuccessLimit: 1, maxErrorRate: 100%, maxP99Ratio: 100}
'''


def test_shows_a_rollout_with_its_gates():
    path = os.path.join(folder, 'rollout.yaml')
    with open(path, 'w', encoding='utf-8') as file:
        file.write(ROLLOUT)

    def rollout(*words):
        subprocess.run([PARLEY, 'rollout', *words], env=environment, check=True, stdout=subprocess.DEVNULL)

    with top(columns=160, rows=40) as screen:
        screen.wait(has_rates, 'shares of both versions')
        rollout('apply', path)
        screen.wait(shows('ROLLOUT', 'Approval', '1/2', 'errors pass (0.00 %, stable', 'p99 pass ('), 'the first step')
        rollout('approve', 'second')
        screen.wait(shows('2/2', '60.0 %'), 'the second step')
        rollout('rollback', 'second')
        screen.wait(shows('RolledBack', 'rollout.rollback'), 'rolled back')
        rollout('delete', 'second')
        screen.wait(lambda s: 'ROLLOUT' not in s.text(), 'gone')
        screen.type('q')
        check(screen.end() == 0, 'q ends it')


def test_broker_goes_and_comes_back(broker):
    with top() as screen:
        screen.wait(has_rates, 'shares of both versions')
        broker.kill()
        broker.wait()
        screen.wait(lambda s: 'no answer' in s.line(0), 'it says that the broker is away')
        check('catalog' in screen.text(), 'what was known stays')
        broker = start_broker()
        screen.wait(lambda s: 'broker up' in s.line(0) and shows('is ready')(s), 'it is back')
        broker.kill()
        broker.wait()
        screen.wait(lambda s: 'no answer' in s.line(0), 'it is away again')
        screen.type('q')
        check(screen.end() == 0, 'q ends it while the broker is away')
    with top() as screen:
        check(screen.end() == 3 and '\x1b[?1049h' not in screen.raw, 'without a broker it does not begin')


def main():
    for number in (signal.SIGTERM, signal.SIGALRM):  # so that all is reaped
        signal.signal(number, lambda number, _: sys.exit(f'ended by signal {number}'))
    signal.alarm(WATCHDOG_S + 30)
    try:
        broker = start_broker()
        start(CATALOG_V1)
        wait_log(broker, 'catalog 1.0.0')
        start(CATALOG_V2)
        wait_log(broker, 'catalog 2.0.0')
        subprocess.run([PARLEY, 'route', 'catalog', '1.0.0=30', '2.0.0=70'], env=environment, check=True, stdout=subprocess.DEVNULL)
        start(CLIENT_V1)
        for test in (test_shows_versions_and_events, test_keys_sort_pause_and_scroll, test_follows_the_size_of_the_window,
                     test_terminals_of_all_kinds, test_ends_with_signals_and_with_its_terminal, test_prints_without_a_terminal,
                     test_shows_a_rollout_with_its_gates):
            test()
            print(f'ok: {test.__name__}', flush=True)
        test_broker_goes_and_comes_back(broker)
        print('ok: test_broker_goes_and_comes_back')
    except terminal.Failure as failure:
        print(f'FAILED: {failure}')
        return 1
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


sys.exit(main())
