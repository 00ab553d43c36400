"""A program in a terminal of its own (a pty), and what its screen shows: as much of a VT100 and an xterm as ncurses uses."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

SEQUENCE = re.compile(r'\x1b\[([?>]?)([\d;]*)([@-~])|\x1b([()][0-9A-Z]|[=>78MDEHc])')


class Failure(Exception):
    """What was waited for did not come."""


class Terminal:
    """One program until its end; `with` reaps it."""

    def __init__(self, command, environment, rows=24, columns=80, timeout_s=60):
        self.rows, self.columns = rows, columns
        self.deadline = time.monotonic() + timeout_s
        self.raw = ''
        self.rest = b''
        self.pending = ''
        self.clear()
        self.status = None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
            os.execve(command[0], command, environment)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.hang_up()

    def hang_up(self):
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1

    def resize(self, rows, columns):
        self.rows, self.columns = rows, columns
        self.clear()
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))

    def type(self, text):
        os.write(self.fd, text.encode())

    # ---- The screen ----

    def clear(self):
        self.cells = [[' '] * self.columns for _ in range(self.rows)]
        self.row = self.column = 0
        self.region = (0, self.rows - 1)  # that scrolls

    def line(self, row):
        return ''.join(self.cells[row]).rstrip()

    def text(self):
        return '\n'.join(self.line(row) for row in range(self.rows))

    def _control(self, mark, numbers, final):
        n = [int(number) if number else 0 for number in numbers.split(';')] + [0]
        first = max(n[0], 1)
        if mark:
            return
        if final == 'r':
            self.region = (first - 1, min(n[1] or self.rows, self.rows) - 1)
            self.row = self.column = 0
        elif final in 'Hf':
            self.row, self.column = first - 1, max(n[1], 1) - 1
        elif final == 'd':
            self.row = first - 1
        elif final in 'G`':
            self.column = first - 1
        elif final == 'A':
            self.row -= first
        elif final == 'B':
            self.row += first
        elif final == 'C':
            self.column += first
        elif final == 'D':
            self.column -= first
        elif final in 'STLM':  # lines move up or down, of the region or from here to its end
            begin, end = (self.region[0] if final in 'ST' else self.row), self.region[1]
            for _ in range(first):
                self._scroll(*((begin, end) if final in 'SM' else (end, begin)))
        elif final == 'Z':
            self.column = max((self.column - 1) // 8 * 8, 0)
        elif final in 'JK' and n[0] == 2:
            for row in range(self.rows) if final == 'J' else [self.row]:
                self.cells[row] = [' '] * self.columns
        elif final in 'KX':
            begin, end = self.column, self.columns if final == 'K' else self.column + first
            if final == 'K' and n[0] == 1:
                begin, end = 0, self.column + 1
            for x in range(begin, min(end, self.columns)):
                self.cells[self.row][x] = ' '
        elif final == 'J':
            self._control('', '', 'K')
            for row in range(self.row + 1, self.rows):
                self.cells[row] = [' '] * self.columns
        elif final == 'b':
            for _ in range(first):
                self._put(self.last)
        elif final == '@':
            line = self.cells[self.row]
            line[self.column:self.column] = [' '] * first
            del line[self.columns:]
        elif final == 'P':
            line = self.cells[self.row]
            del line[self.column:self.column + first]
            line += [' '] * (self.columns - len(line))
        self.row = min(max(self.row, 0), self.rows - 1)
        self.column = min(max(self.column, 0), self.columns - 1)

    def _scroll(self, gone, fresh):
        """One line leaves at the one end, an empty one comes at the other."""
        del self.cells[gone]
        self.cells.insert(fresh, [' '] * self.columns)

    def _put(self, letter):
        if letter == '\r':
            self.column = 0
        elif letter == '\n':
            if self.row == self.region[1]:
                self._scroll(*self.region)
            else:
                self.row = min(self.row + 1, self.rows - 1)
        elif letter == '\t':
            self.column = min((self.column // 8 + 1) * 8, self.columns - 1)
        elif letter == '\b':
            self.column = max(self.column - 1, 0)
        elif letter >= ' ':
            if self.row < self.rows and self.column < self.columns:
                self.cells[self.row][self.column] = letter
            self.column += 1
            self.last = letter

    def _show(self, text):
        text = self.pending + text
        at = 0
        while at < len(text):
            if text[at] != '\x1b':
                self._put(text[at])
                at += 1
                continue
            found = SEQUENCE.match(text, at)
            if not found and len(text) - at < 16:
                break  # the rest of it is on its way
            if found and found.group(4) == 'M':  # up, at the top of the region it scrolls
                if self.row == self.region[0]:
                    self._scroll(self.region[1], self.region[0])
                else:
                    self.row -= 1
            elif found and found.group(3):
                self._control(found.group(1), found.group(2), found.group(3))
            at = found.end() if found else at + 1
        self.pending = text[at:]

    # ---- Waiting ----

    def _receive(self):
        """False: the program has closed its terminal."""
        left = self.deadline - time.monotonic()
        if left <= 0 or not select.select([self.fd], [], [], left)[0]:
            raise Failure('it did not come in time')
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        text = (self.rest + data).decode(errors='replace')
        self.raw += text
        self._show(text)
        return bool(data)

    def wait(self, condition, what):
        """Until condition(self) is true of what is shown."""
        try:
            while not condition(self):
                if not self._receive():
                    raise Failure('the program ended')
        except Failure as failure:
            raise Failure(f'{what}: {failure}; the screen:\n{self.text()}') from None

    def end(self):
        """Its exit status; negative: the signal."""
        while self.fd >= 0 and self._receive():
            pass
        while self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > self.deadline:
                raise Failure('the program does not end')
            else:
                select.select([], [], [], 0.01)
        return self.status
