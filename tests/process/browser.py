"""A headless Chromium, driven over the DevTools protocol.

Over a pipe (--remote-debugging-pipe: JSON messages, each with a NUL behind it, on descriptors 3 and 4),
so that no port is opened and nothing but Python's own library is needed. Every wait ends, by a watchdog.
"""

import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time


def find():
    """The path of a Chromium, or None."""
    for name in ('chromium', 'chromium-browser', 'google-chrome'):
        path = shutil.which(name)
        if path:
            return path
    return None


class Failure(Exception):
    """The browser said no, or what was waited for did not come."""


class Browser:
    """One page in one browser; `with` ends and reaps it, and removes its folder."""

    def __init__(self, timeout_s=20):
        self.deadline = time.monotonic() + timeout_s
        self.events = []  # all that came, oldest first
        self.answers = {}
        self.last_id = 0
        self.buffer = b''
        self.session = None
        self.folder = tempfile.mkdtemp(prefix='parley-browser.')
        ends = [os.pipe(), os.pipe()]
        self.write_fd, self.read_fd = ends[0][1], ends[1][0]
        # High above 3 and 4, where Chromium wants them, so that neither is in the other's way.
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 64) for end in (ends[0][0], ends[1][1])]

        def place():
            os.dup2(theirs[0], 3)
            os.dup2(theirs[1], 4)

        self.process = subprocess.Popen(
            [find(), '--headless=new', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-extensions',
             '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-proxy-server',
             '--disable-dev-shm-usage', '--hide-scrollbars', '--remote-debugging-pipe',
             '--user-data-dir=' + self.folder, 'about:blank'],
            pass_fds=(3, 4), preexec_fn=place, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True, env={**os.environ, 'HOME': self.folder})
        for fd in (ends[0][0], ends[1][1], *theirs):
            os.close(fd)

    def __enter__(self):
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def _open(self):
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        self.session = self.call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Network', 'Log'):
            self.call(domain + '.enable')

    def close(self):
        """The whole process group: Chromium is many processes."""
        os.close(self.write_fd)
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        os.close(self.read_fd)
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- The protocol ----

    def _receive(self, until):
        """Takes in what comes next; False: nothing came by then."""
        left = min(until, self.deadline) - time.monotonic()
        if left <= 0 or not select.select([self.read_fd], [], [], left)[0]:
            return False
        data = os.read(self.read_fd, 1 << 20)
        if not data:
            raise Failure('the browser has ended')
        *messages, self.buffer = (self.buffer + data).split(b'\0')
        for text in messages:
            message = json.loads(text)
            if 'id' in message:
                self.answers[message['id']] = message
            else:
                self.events.append(message)
        return True

    def call(self, method, **params):
        """One command and its answer."""
        self.last_id += 1
        message = {'id': self.last_id, 'method': method, 'params': params}
        if self.session:
            message['sessionId'] = self.session
        data = json.dumps(message).encode() + b'\0'
        while data:
            data = data[os.write(self.write_fd, data):]
        while self.last_id not in self.answers:
            if not self._receive(self.deadline):
                raise Failure(f'no answer to {method} in time')
        answer = self.answers.pop(self.last_id)
        if 'error' in answer:
            raise Failure(f'{method}: {answer["error"]["message"]}')
        return answer['result']

    def wait_event(self, method, since=0):
        """The first event of that name from number @since on."""
        while True:
            for event in self.events[since:]:
                if event['method'] == method:
                    return event['params']
            if not self._receive(self.deadline):
                raise Failure(f'{method} did not come in time')

    # ---- The page ----

    def go(self, url):
        seen = len(self.events)
        answer = self.call('Page.navigate', url=url)
        if answer.get('errorText'):
            raise Failure(f'{url}: {answer["errorText"]}')
        self.wait_event('Page.loadEventFired', seen)

    def run(self, script):
        """The value of a JavaScript expression; promises are waited for."""
        answer = self.call('Runtime.evaluate', expression=script, returnByValue=True, awaitPromise=True)
        if 'exceptionDetails' in answer:
            details = answer['exceptionDetails']
            raise Failure(f'{script}: {details.get("exception", {}).get("description", details["text"])}')
        return answer['result'].get('value')

    def wait(self, script, what=None):
        """Until the expression is true: looked at whenever the page's document changes."""
        watch = '''new Promise((resolve) => {
            const look = () => { let now = false; try { now = (%s); } catch { } if (now) { observer.disconnect(); resolve(now); } };
            const observer = new MutationObserver(look);
            observer.observe(document, {subtree: true, childList: true, characterData: true, attributes: true});
            look();
        })''' % script
        try:
            return self.run(watch)
        except Failure as failure:
            raise Failure(f'{what or script}: {failure}\n{self.run_or_none("document.body.innerText")}') from None

    def run_or_none(self, script):
        """For a complaint: a little more time than there was."""
        self.deadline = max(self.deadline, time.monotonic() + 2)
        try:
            return self.run(script)
        except Failure:
            return None

    def key(self, name, code):
        """Presses and releases a key: ('Tab', 9), ('Enter', 13)."""
        text = {'text': '\r'} if name == 'Enter' else {}
        for kind in ('keyDown', 'keyUp'):
            self.call('Input.dispatchKeyEvent', type=kind, key=name, code=name, windowsVirtualKeyCode=code,
                      **(text if kind == 'keyDown' else {}))

    def size(self, width, height, phone=False):
        self.call('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=2 if phone else 1,
                  mobile=phone)

    def scheme(self, name):
        """'light' or 'dark'."""
        self.call('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': name}])

    def complaints(self):
        """Errors and warnings of the console so far, exceptions, and what the CSP stopped."""
        found = []
        for event in self.events:
            params = event['params']
            if event['method'] == 'Runtime.exceptionThrown':
                found.append(params['exceptionDetails'].get('exception', {}).get('description', 'an exception'))
            elif event['method'] == 'Runtime.consoleAPICalled' and params['type'] in ('error', 'warning', 'assert'):
                found.append(' '.join(str(arg.get('value', arg.get('description'))) for arg in params['args']))
            elif event['method'] == 'Log.entryAdded' and params['entry']['level'] in ('error', 'warning'):
                found.append(f'{params["entry"]["text"]} {params["entry"].get("url", "")}')
        return found

    def requests(self):
        """The URLs of all requests so far."""
        return [event['params']['request']['url'] for event in self.events if event['method'] == 'Network.requestWillBeSent']
