"""Headless Chromium for tests and benches of the page: how it starts, and what it is asked."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import JavascriptException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CHROMEDRIVER = shutil.which("chromedriver")
MISSING = (
    ""
    if CHROMIUM and CHROMEDRIVER
    else "needs chromium and chromedriver on PATH (Debian: chromium, chromium-driver)"
)
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-device-scale-factor=1",
    "--hide-scrollbars",
)
WAIT_S = 20.0


@contextmanager
def chromium(width: int = 1280, height: int = 900) -> Iterator["Browser"]:
    """A browser with a profile of its own, which goes with it."""
    assert CHROMIUM, MISSING
    assert CHROMEDRIVER, MISSING
    with tempfile.TemporaryDirectory(prefix="dvis-chromium-", ignore_cleanup_errors=True) as folder:
        options = Options()
        options.binary_location = CHROMIUM
        for flag in (*_FLAGS, f"--user-data-dir={folder}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
        try:
            yield Browser(driver)
        finally:
            driver.quit()


class Browser:
    """What the tests ask a browser."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def resize(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Give the page a size, also one narrower than a window can be, and a colour scheme."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def open(self, address: str) -> None:
        """Load an address from nothing, and wait until its view is there."""
        self.driver.get("about:blank")
        self.errors()  # of the page before
        self.driver.get(address)
        self.wait_for_view()

    def go(self, fragment: str) -> None:
        """Change the address of the open page, as a link does."""
        self.js("dvis.page.go(arguments[0])", fragment)
        time.sleep(0.05)
        self.wait_for_view()

    def wait_for_view(self) -> None:
        """Wait until the page is no longer busy."""
        self.wait(
            "const main = document.getElementById('main');"
            "return main && main.getAttribute('aria-busy') === 'false'"
        )
        # What is drawn to the window's size is drawn in the next frame.
        self.driver.execute_async_script(
            "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))"
        )

    def js(self, script: str, *arguments: Any) -> Any:
        """What a script in the page gives back."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str, *arguments: Any, seconds: float = WAIT_S) -> Any:
        """What a script in the page gives back, once that is true."""
        end = time.monotonic() + seconds
        while True:
            try:
                found = self.js(script, *arguments)
            except JavascriptException:
                found = None
            if found:
                return found
            if time.monotonic() > end:
                raise AssertionError(
                    f"not true within {seconds} s: {script}\n"
                    f"{self.js('return location.href + document.body.innerText.slice(0, 2000)')}\n"
                    f"{self.errors()}"
                )
            time.sleep(0.02)

    def errors(self) -> list[str]:
        """What the console was told since it was last asked, but for plain information."""
        entries = self.driver.get_log("browser")
        return [each["message"] for each in entries if each["level"] in ("SEVERE", "WARNING")]

    def press(self, *keys: str) -> None:
        """Press keys wherever the focus is."""
        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def picture(self, path: Path) -> None:
        """Save what the window shows."""
        self.driver.save_screenshot(str(path))


@contextmanager
def server(store: Path) -> Iterator[tuple[str, int]]:
    """The address of `dvis view` of a store, and its process."""
    start = "import sys; from dvis.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", start, "view", str(store), "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield _address(process), process.pid
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout:
            process.stdout.close()


def _address(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    for line in process.stdout:
        words = [word for word in line.split() if word.startswith("http://")]
        if words:
            return words[0]
    raise AssertionError(f"the server ended with {process.wait()} before it told its address")
