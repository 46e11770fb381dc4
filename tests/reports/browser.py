"""A headless Chromium driven over a pipe, to see a page as a reader's browser shows it."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LOOK = """(() => {
  const page = document.documentElement, style = getComputedStyle(document.body);
  const beyond = e => !e.closest('.wide, pre') && e.getBoundingClientRect().right > innerWidth + 1;
  const images = [...document.images];
  return JSON.stringify({
    wide: page.scrollWidth, ink: style.color, ground: style.backgroundColor,
    images: images.map(i => ({alt: i.alt, width: i.naturalWidth, shown: i.width})),
    beyond: [...document.querySelectorAll('body *')].filter(beyond).map(e => e.tagName),
  });
})()"""


def installed():
    """The browser's command; None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@dataclass
class Seen:
    """What a page is like at one size and in one scheme."""

    page: dict
    requests: list = field(default_factory=list)
    failed: list = field(default_factory=list)
    errors: list = field(default_factory=list)
    screenshot: bytes = b""


def _pipe(theirs):
    """A pipe whose end `theirs` is numbered beyond 3 and 4, where the browser wants it."""
    ends = list(os.pipe())
    near = ends[theirs]
    ends[theirs] = fcntl.fcntl(near, fcntl.F_DUPFD, 10)
    os.close(near)
    return ends


@contextmanager
def browser(profile):
    """A browser with a profile of its own; ends with the block."""
    (to_it, ours_out), (ours_in, from_it) = _pipe(theirs=0), _pipe(theirs=1)
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    flags += ["--remote-debugging-pipe", "--no-first-run", f"--user-data-dir={profile}"]
    line = f'exec "$0" "$@" 3<&{to_it} 4>&{from_it}'
    process = subprocess.Popen(
        ["bash", "-c", line, installed(), *flags, "about:blank"],
        pass_fds=(to_it, from_it),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_it)
    os.close(from_it)
    try:
        yield Pipe(ours_out, ours_in)
    finally:
        os.close(ours_out)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(ours_in)


class Pipe:
    """Chromium's DevTools protocol: JSON messages that end in a zero byte."""

    def __init__(self, out, into):
        self.out, self.into = out, into
        self.number, self.rest, self.events, self.session = 0, b"", [], None

    def call(self, method, **params):
        """The result of one command."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            got = self.read()
            if got.get("id") == self.number:
                assert "error" not in got, f"{method}: {got['error']}"
                return got["result"]
            self.events.append(got)

    def read(self):
        """The next message."""
        while b"\0" not in self.rest:
            part = os.read(self.into, 2**16)
            assert part, "the browser has gone"
            self.rest += part
        one, self.rest = self.rest.split(b"\0", 1)
        return json.loads(one)

    def until(self, method):
        """Wait for an event."""
        while not any(e.get("method") == method for e in self.events):
            self.events.append(self.read())

    def look(self, path, *, width, height=900, dark=False, screenshot=False, ratio=1):
        """Open a file in a new tab of some width and say what it is like."""
        self.session, self.events = None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": ratio}
        self.call("Emulation.setDeviceMetricsOverride", **size, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=Path(path).resolve().as_uri())
        self.until("Page.loadEventFired")
        told = self.call("Runtime.evaluate", expression=LOOK)["result"]["value"]
        seen = Seen(json.loads(told))
        if screenshot:
            shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
            seen.screenshot = base64.b64decode(shot["data"])
        self._note(seen)
        self.session = None
        self.call("Target.closeTarget", targetId=target)
        return seen

    def _note(self, seen):
        for event in self.events:
            method, params = event.get("method"), event.get("params", {})
            if method == "Network.requestWillBeSent":
                seen.requests.append(params["request"]["url"])
            if method == "Network.loadingFailed":
                seen.failed.append(params["errorText"])
            if method == "Runtime.exceptionThrown" or (
                method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning")
            ):
                seen.errors.append(params)
