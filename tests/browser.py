"""Headless Chromium for tests and benches of the page: how it starts, and what it is asked."""

import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from PIL import Image
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
_REQUESTS = "performance"  # what Chromium calls the log of what a page asks for
WAIT_S = 60.0  # patience alone: under load a fresh process takes its time


@contextmanager
def chromium(
    width: int = 1280, height: int = 900, *, recorded: bool = False
) -> Iterator["Browser"]:
    """A browser with a profile of its own, which goes with it; may record what it reads."""
    assert CHROMIUM, MISSING
    assert CHROMEDRIVER, MISSING
    with tempfile.TemporaryDirectory(prefix="dvis-chromium-", ignore_cleanup_errors=True) as folder:
        options = Options()
        options.binary_location = CHROMIUM
        for flag in (*_FLAGS, f"--user-data-dir={folder}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.set_capability(
            "goog:loggingPrefs", {"browser": "ALL", **({_REQUESTS: "ALL"} if recorded else {})}
        )
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

    def files_read(self) -> list[Path]:
        """Files of a disk that were read since this was last asked, where they are recorded."""
        told = (json.loads(each["message"])["message"] for each in self.driver.get_log(_REQUESTS))
        asked = (each["params"] for each in told if each["method"] == "Network.requestWillBeSent")
        urls = (urlsplit(each["request"]["url"]) for each in asked)
        return [*dict.fromkeys(Path(unquote(url.path)) for url in urls if url.scheme == "file")]

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


@dataclass
class Page:
    """A page of the store: how it came to the browser, and where it is."""

    mode: str
    address: str
    browser: Browser

    def open(self, fragment: str = "") -> Browser:
        self.browser.resize(1280, 900)
        self.browser.open(f"{self.address}#/{fragment}")
        return self.browser


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


def cells(browser: Browser) -> dict[int, dict[str, float]]:
    """Thumbnails in the page: where each channel's is in the window."""
    found = browser.js(
        """return [...document.querySelectorAll('.grid .cell')].map(cell => {
            const box = cell.querySelector('.frame').getBoundingClientRect();
            return [Number(cell.dataset.channel), {x: box.x, y: box.y, width: box.width,
                    height: box.height, drawn: cell.dataset.drawn}];
        })"""
    )
    return dict(found)


def window(browser: Browser) -> np.ndarray:
    """Pixels of the window, (y, x, rgb)."""
    data = browser.driver.get_screenshot_as_png()
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def inside(pixels: np.ndarray, box: dict[str, float]) -> np.ndarray:
    """Pixels of a box."""
    x, y, width, height = (round(box[name]) for name in ("x", "y", "width", "height"))
    return pixels[y : y + height, x : x + width]


def middle(pixels: np.ndarray, box: dict[str, float]) -> np.ndarray:
    """Mean colour of the middle of a box."""
    part = inside(pixels, box)
    height, width = part.shape[:2]
    return part[height // 4 : height // 2, width // 4 : 3 * width // 4].mean((0, 1))


def show(browser: Browser, checkpoint: int) -> None:
    """Move the slider as a hand does, and wait for the thumbnails."""
    browser.js(
        """const slider = document.querySelector('.slider'); slider.value = arguments[0];
        slider.dispatchEvent(new Event('input', {bubbles: true}))""",
        checkpoint,
    )
    browser.wait(
        "return document.querySelector('.grid').dataset.shown === String(arguments[0])", checkpoint
    )


def shown_channels(browser: Browser) -> int:
    return int(browser.js("return document.querySelector('.grid').dataset.count"))


def text(browser: Browser) -> str:
    found = browser.js("return document.getElementById('main').innerText")
    return str(found)
