"""Chromium without a window, driven over its DevTools pipe: no driver, no further package."""

import base64
import json
import os
import shutil
import subprocess
import sys

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
QUIET = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")

PIPE = "--remote-debugging-pipe"  # reads commands from file descriptor 3, and writes answers to 4
START = """
import fcntl, os, sys
high = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 100) for number in sys.argv[1:3]]
os.dup2(high[0], 3)
os.dup2(high[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """One page at a time.

    Attributes:
        errors: What its scripts threw, what it refused to load, and what it wrote to its console as an error.
    """

    def __init__(self, profile):
        command_out, self._commands = os.pipe()
        self._answers, answer_in = os.pipe()
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--hide-scrollbars", PIPE, *QUIET]
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                START,
                str(command_out),
                str(answer_in),
                CHROMIUM,
                *flags,
                f"--user-data-dir={profile}",
            ],
            pass_fds=(command_out, answer_in),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(command_out)
        os.close(answer_in)
        self._buffer, self._number, self._session, self.errors, self._events = b"", 0, None, [], []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self(f"{domain}.enable")

    def __call__(self, method, **parameters):
        """Send a command, and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def _read(self):
        while b"\0" not in self._buffer:
            chunk = os.read(self._answers, 1 << 20)
            assert chunk, "the browser has ended"
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        found = json.loads(message)
        name = found.get("method", "")
        if name == "Runtime.exceptionThrown":
            self.errors.append(found["params"]["exceptionDetails"])
        if name == "Log.entryAdded" and found["params"]["entry"]["level"] == "error":
            self.errors.append(found["params"]["entry"]["text"])
        if name == "Page.loadEventFired":
            self._events.append(name)
        return found

    def open(self, url):
        """Open a page, and wait until it is loaded."""
        self._events.clear()
        self("Page.navigate", url=url)
        while not self._events:
            self._read()

    def resize(self, width, height):
        """Give the page a size, in CSS pixels."""
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def theme(self, scheme):
        """Make the system ``"light"`` or ``"dark"``."""
        self("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def run(self, expression):
        """Return the value of a JavaScript expression; a promise is awaited."""
        found = self("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def screenshot(self, path, *, whole=False):
        """Write what is seen, or the whole page, as a PNG file."""
        data = self("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def print(self, path):
        """Write the page as a PDF file."""
        path.write_bytes(base64.b64decode(self("Page.printToPDF", printBackground=False)["data"]))

    def press(self, key):
        """Press a key where the focus is."""
        for kind in ("keyDown", "keyUp"):
            self("Input.dispatchKeyEvent", type=kind, key=key, **({"text": key} if len(key) == 1 else {}))

    def mouse(self, kind, x, y):
        """Send ``mousePressed``, ``mouseMoved`` or ``mouseReleased``."""
        button = "none" if kind == "mouseMoved" else "left"
        self("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=1)

    def close(self):
        """End the browser."""
        os.close(self._commands)
        os.close(self._answers)
        self._process.terminate()
        self._process.wait(timeout=30)


def main():
    """Take pictures of a page in both themes, on a phone and on paper: ``python browser.py PAGE FOLDER``."""
    import tempfile
    from pathlib import Path

    page, folder = Path(sys.argv[1]).resolve().as_uri(), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        browser = Browser(profile)
        for scheme in ("light", "dark"):
            for name, width in (("desktop", 1280), ("phone", 360)):
                browser.theme(scheme)
                browser.resize(width, 900)
                browser.open(page)
                browser.resize(width, browser.run("document.documentElement.scrollHeight"))
                browser.screenshot(folder / f"{name}-{scheme}.png")
        browser.print(folder / "print.pdf")
        sys.stdout.write("\n".join(map(str, browser.errors)) + "\n")
        browser.close()


if __name__ == "__main__":
    main()
