# SPDX-License-Identifier: GPL-2.0-or-later
"""A real browser for the tests of pages: headless Chromium, driven by its DevTools protocol over a pipe.

It has a profile of its own, and nothing may leave the machine: what a page asks for is kept in `requests`.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

NAME = "chromium"
LIMIT_S = 60.0

_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
          "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
          "--disable-default-apps", "--hide-scrollbars", "--font-render-hinting=none", "--remote-debugging-pipe")


def find() -> str | None:
    """The browser, None if there is none."""
    return shutil.which(NAME)


class Browser:
    """One page of one browser; use it as a context."""

    def __init__(self) -> None:
        command = find()
        assert command is not None
        self._home = tempfile.mkdtemp(prefix="tcpqual-browser-")
        ours, theirs = os.pipe(), os.pipe()
        # It reads commands from descriptor 3 and writes answers to 4; no descriptor of ours may be one of the two.
        reading, writing = _high(ours[0]), _high(theirs[1])
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$0" "$@" 3<&{reading} 4>&{writing}', command, *_FLAGS,
             f"--user-data-dir={self._home}", "about:blank"],
            pass_fds=(reading, writing), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": self._home})
        os.close(reading)
        os.close(writing)
        self._out, self._in = ours[1], theirs[0]
        self._buffer = b""
        self._number = 0
        self._session = ""
        self.events: list[dict[str, Any]] = []
        try:
            pages = [one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page"]
            page = pages[0]["targetId"] if pages else self.call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the browser and take its files away."""
        for end in (self._out, self._in):
            os.close(end)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._home, ignore_errors=True)

    # -- the protocol ------------------------------------------------------------------------------------------------

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its answer; what else came meanwhile is in `events`."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        _write(self._out, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + LIMIT_S
        while True:
            answer = self._next(until)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])
            self.events.append(answer)

    def wait(self, method: str) -> dict[str, Any]:
        """The next event of that name, or one that has come already and nobody has waited for."""
        until = time.monotonic() + LIMIT_S
        while True:
            for event in self.events:
                if event.get("method") == method and not event.get("seen"):
                    event["seen"] = True
                    return event
            self.events.append(self._next(until))

    def _next(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0.0, until - time.monotonic()))
            assert ready, "the browser does not answer"
            octets = os.read(self._in, 1 << 20)
            assert octets, f"the browser ended with {self._process.poll()}"
            self._buffer += octets
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))

    # -- what a person does ------------------------------------------------------------------------------------------

    def open(self, path: Path, fragment: str = "") -> None:
        """Load a file, and wait until it has been loaded."""
        self.call("Page.navigate", url="about:blank")
        self.wait("Page.loadEventFired")
        self.events.clear()
        self.call("Page.navigate", url=path.absolute().as_uri() + fragment)
        self.wait("Page.loadEventFired")

    def reload(self) -> None:
        """Load the page again."""
        self.call("Page.reload")
        self.wait("Page.loadEventFired")

    def run(self, expression: str) -> Any:
        """The value of an expression in the page, of a promise what it becomes. Fails where the page throws."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression: str) -> Any:
        """Wait until the expression is true, looked at with each frame the page draws; its value."""
        return self.run(f"""new Promise(function (done, fail) {{
            var end = performance.now() + {LIMIT_S * 500};
            (function look() {{
              var value = ({expression});
              if (value) {{ done(value); }}
              else if (performance.now() > end) {{ fail(new Error("never true: " + {json.dumps(expression)})); }}
              else {{ requestAnimationFrame(look); }}
            }}());
          }})""")

    def click(self, selector: str) -> None:
        """Click the middle of the first element that fits, with a mouse."""
        place = self.run(f"""(function () {{
            var item = document.querySelector({json.dumps(selector)});
            item.scrollIntoView({{block: "center", inline: "center"}});
            var at = item.getBoundingClientRect();
            return [at.left + at.width / 2, at.top + at.height / 2];
          }}())""")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def press(self, key: str, code: int) -> None:
        """Press a key; `code` is its number of old."""
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code,
                      **(text if kind == "keyDown" else {}))

    def look(self, width: int, height: int, *, dark: bool = False, medium: str = "") -> None:
        """The size of the screen in pixels, light or dark, and what it is shown on (`print`)."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=medium, features=[scheme])

    def picture(self, path: Path, *, whole: bool = False) -> Path:
        """A picture of what is seen, or of the whole page."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))
        return path

    def pdf(self, path: Path) -> Path:
        """The page as printed."""
        answer = self.call("Page.printToPDF", printBackground=False, preferCSSPageSize=True)
        path.write_bytes(base64.b64decode(answer["data"]))
        return path

    # -- what went wrong ---------------------------------------------------------------------------------------------

    @property
    def complaints(self) -> list[Any]:
        """What the page threw, and what it or the browser wrote to the console."""
        return [event["params"] for event in self._those("Runtime.exceptionThrown", "Runtime.consoleAPICalled",
                                                         "Log.entryAdded")]

    @property
    def requests(self) -> list[str]:
        """What was asked for, beside the page itself."""
        return [event["params"]["request"]["url"] for event in self._those("Network.requestWillBeSent")
                if event["params"].get("type") != "Document"]

    def _those(self, *methods: str) -> list[dict[str, Any]]:
        self.call("Runtime.evaluate", expression="0")  # whatever has come is read
        return [event for event in self.events if event.get("method") in methods]


def _high(descriptor: int) -> int:
    """The same as a descriptor that is neither 3 nor 4."""
    import fcntl

    high = fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10)
    os.close(descriptor)
    return high


def _write(descriptor: int, octets: bytes) -> None:
    while octets:
        octets = octets[os.write(descriptor, octets):]
