"""A headless Chromium driven through its debugging pipe, for pages that have to work in a real browser."""
import base64
import json
import os
import select
import shutil
import subprocess
import time
from contextlib import contextmanager

import pytest

_NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')


def find_browser():
    """Path of the browser; skips the test where there is none, but fails in CI, which has to have one."""
    path = os.environ.get('CHROMIUM') or next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        (pytest.fail if os.environ.get('CI') else pytest.skip)('there is no Chromium: apt-get install chromium')
    return path


class Page:
    """One page: its scripts, its mouse, its picture, and everything that it complains about."""

    def __init__(self, send, receive):
        self._send, self._receive = send, receive
        self._number, self._inbox = 0, b''
        self._session = None
        self.complaints = []
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        self._session = self.call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log'):
            self.call(f'{domain}.enable')

    def call(self, method, **parameters):
        """Calls a method of the protocol and returns its result."""
        self._number += 1
        message = dict(id=self._number, method=method, params=parameters)
        if self._session:
            message['sessionId'] = self._session
        os.write(self._send, json.dumps(message).encode() + b'\0')
        while True:
            answer = self._read()
            if answer.get('id') == self._number:
                assert 'error' not in answer, answer
                return answer['result']
            self._note(answer)

    def _note(self, event):
        kind, parameters = event.get('method'), event.get('params', {})
        if kind == 'Runtime.exceptionThrown':
            self.complaints.append(parameters['exceptionDetails'])
        elif kind == 'Runtime.consoleAPICalled' and parameters['type'] in ('error', 'warning', 'assert'):
            self.complaints.append(parameters['args'])
        elif kind == 'Log.entryAdded' and parameters['entry']['level'] in ('error', 'warning'):
            self.complaints.append(parameters['entry'])

    def _read(self, limit=120):
        end = time.monotonic() + limit
        while b'\0' not in self._inbox:
            ready, _, _ = select.select([self._receive], [], [], max(0, end - time.monotonic()))
            assert ready, 'the browser does not answer'
            chunk = os.read(self._receive, 1 << 20)
            assert chunk, 'the browser has ended'
            self._inbox += chunk
        message, self._inbox = self._inbox.split(b'\0', 1)
        return json.loads(message)

    def open(self, url):
        """Loads a page."""
        self.call('Page.navigate', url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, expression):
        """Value of an expression; promises are waited for."""
        result = self.call('Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True)
        assert 'exceptionDetails' not in result, result
        return result['result'].get('value')

    def wait(self, condition, limit=60):
        """Waits until a condition holds."""
        end = time.monotonic() + limit
        while not self.run(f'!!({condition})'):
            assert time.monotonic() < end, f'not so after {limit} s: {condition}'
            time.sleep(0.1)

    def drag(self, start, end):
        """Drags the mouse from one point to another, pixels of the window."""
        for kind, (x, y) in (('mousePressed', start), ('mouseMoved', end), ('mouseReleased', end)):
            self.call('Input.dispatchMouseEvent', type=kind, x=x, y=y, button='left', buttons=1, clickCount=1)

    def picture(self, path):
        """Writes what the window shows."""
        shot = self.call('Page.captureScreenshot', format='png', captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot['data']))


@contextmanager
def browser(profile, size=(1100, 1400)):
    """A page in a browser of its own, which ends with the block."""
    command = [find_browser(), '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage',
               '--no-first-run', '--disable-background-networking', '--autoplay-policy=no-user-gesture-required',
               f'--user-data-dir={profile}', f'--window-size={size[0]},{size[1]}', '--remote-debugging-pipe',
               'about:blank']
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    # the pipe's ends are file descriptors 3 and 4 of the browser
    shell = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
    process = subprocess.Popen(['bash', '-c', shell, 'browser', *command], pass_fds=(theirs_in, theirs_out),
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Page(ours_out, ours_in)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(ours_out)
        os.close(ours_in)
