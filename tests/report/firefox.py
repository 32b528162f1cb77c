"""Debian's Firefox, headless, driven by its own Marionette protocol: no driver has to be installed."""

import json
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

BINARY = "firefox-esr"
SETTINGS = """user_pref("marionette.port", {port}); user_pref("ui.prefersReducedMotion", {reduced});
user_pref("network.proxy.type", 1); user_pref("network.proxy.socks", "127.0.0.1");
user_pref("network.proxy.socks_port", 9);
"""  # a proxy that is not there: the page gets nothing from the net
CONSOLE = """return Services.console.getMessageArray().map((message) => {
  try { message.QueryInterface(Ci.nsIScriptError); } catch (no) { return ["", ""]; }
  return [message.errorMessage, message.sourceName];
}).filter(([text, source]) => source.startsWith("file:"));"""


class Firefox:
    """A browser; its calls are commands of WebDriver."""

    def __init__(self, reduced_motion: bool = False) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.profile = Path(tempfile.mkdtemp())
        (self.profile / "user.js").write_text(SETTINGS.format(port=port, reduced=int(reduced_motion)))
        command = [BINARY, "--headless", "-remote-allow-system-access", "--marionette", "--no-remote"]
        self.process = subprocess.Popen(
            [*command, "--profile", str(self.profile)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.socket, self.received, self.sent = _connected(port), b"", 0
        self._read()
        self("WebDriver:NewSession", capabilities={"alwaysMatch": {}})

    def __call__(self, name: str, **parameters: Any) -> Any:
        """The answer to a command."""
        self.sent += 1
        text = json.dumps([0, self.sent, name, parameters]).encode()
        self.socket.sendall(b"%d:%s" % (len(text), text))
        _, _, error, value = self._read()
        assert not error, f"{name}: {error}"
        return value

    def _read(self) -> Any:
        while b":" not in self.received:
            self.received += self.socket.recv(65536)
        size, _, self.received = self.received.partition(b":")
        while len(self.received) < int(size):
            self.received += self.socket.recv(65536)
        message, self.received = self.received[: int(size)], self.received[int(size) :]
        return json.loads(message)

    def run(self, script: str, context: str = "content") -> Any:
        """What a script returns, in the page or in the browser itself (chrome)."""
        self("Marionette:SetContext", value=context)
        try:
            return self("WebDriver:ExecuteScript", script=script, args=[], sandbox=None)["value"]
        finally:
            self("Marionette:SetContext", value="content")

    def wait(self, condition: str, seconds: float = 60) -> None:
        """Waits until a condition of the page holds."""
        end = time.monotonic() + seconds
        while not self.run(f"return Boolean({condition})"):
            assert time.monotonic() < end, f"{condition}: not within {seconds} s"
            time.sleep(0.1)

    def said(self) -> list[list[str]]:
        """Messages on the console that come from files."""
        return self.run(CONSOLE, "chrome")

    def end(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.wait()
        self.socket.close()
        shutil.rmtree(self.profile, ignore_errors=True)


def _connected(port: int) -> socket.socket:
    for _ in range(600):
        try:
            return socket.create_connection(("127.0.0.1", port))
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("Firefox does not answer")
