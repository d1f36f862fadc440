"""A report's page in Chromium: its size, the time to its first paint, the work of a filter, and pictures of it.

    python benchmarks/report_page.py results/studies/mini/report.html [--screens FOLDER] [--csv benchmarks/results.csv]

The time of a filter is the time that the page's main thread computes after a choice, so that other processes of the
machine do not count. The chart is drawn after it and timed on its own. Pictures are 1,300 and 390 pixels wide, light and dark.
"""

import argparse
import base64
import shutil
import time
from pathlib import Path

import numpy as np
from selenium import webdriver

import results

WIDTHS = (1300, 390)
CHOICES = (
    ("beta", "all"),
    ("model", "all"),
    ("metric", "ece"),
    ("benchmark", "all"),
    ("beta", "0"),
    ("metric", "gap"),
)
"""Choices of the explorer, from few cells to all."""
CHOOSE = """
const select = document.getElementById("choose-" + arguments[0]);
if (select) { select.value = arguments[1]; select.dispatchEvent(new Event("change")); }
return select !== null;
"""
POSTPONE = "const later = window.setTimeout; window.setTimeout = (run, time) => later(run, time + 1000);"
"""On a busy machine, the chart would otherwise be drawn before the time of the filter is read."""


def opened() -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    return webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))


def show(browser: webdriver.Chrome, page: Path, width: int, scheme: str) -> None:
    """Open the page and bring its explorer into view."""
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(page.resolve().as_uri())
    browser.execute_script("document.getElementById('explore').scrollIntoView()")
    while not browser.execute_script("return document.documentElement.dataset.explorer == 'ready'"):
        time.sleep(0.1)


def computed(browser: webdriver.Chrome) -> float:
    """Seconds that the main thread has computed so far."""
    measured = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return next(metric["value"] for metric in measured if metric["name"] == "TaskDuration")


def timed(browser: webdriver.Chrome, page: Path) -> dict[str, float]:
    show(browser, page, WIDTHS[0], "light")
    paint = browser.execute_script("return performance.getEntriesByType('paint').map(one => one.startTime)")
    browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    time.sleep(1)  # the first chart is drawn
    browser.execute_script(POSTPONE)
    spent, drawn = [], []
    for name, value in CHOICES:
        start = computed(browser)
        if browser.execute_script(CHOOSE, name, value):
            filtered = computed(browser)
            time.sleep(3)
            spent.append(1000 * (filtered - start))
            drawn.append(1000 * (computed(browser) - filtered))
    return {
        "page_mb": page.stat().st_size / 1e6,
        "first_paint_ms": max(paint),
        "filter_median_ms": float(np.median(spent)),
        "filter_max_ms": max(spent),
        "chart_median_ms": float(np.median(drawn)),
    }


def picture(browser: webdriver.Chrome, path: Path) -> None:
    whole = browser.execute_script(
        "const page = document.documentElement; return [page.scrollWidth, page.scrollHeight]"
    )
    clip = {"x": 0, "y": 0, "width": whole[0], "height": whole[1], "scale": 1}
    taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(base64.b64decode(taken["data"]))
    print(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("--screens", type=Path, help="write pictures to this folder, and measure nothing")
    parser.add_argument("--csv", type=Path, help="append the figures to this file")
    arguments = parser.parse_args()
    browser = opened()
    try:
        if arguments.screens:
            for width in WIDTHS:
                for scheme in ("light", "dark"):
                    show(browser, arguments.page, width, scheme)
                    browser.find_elements("css selector", "button.language")[0].click()
                    time.sleep(2)
                    picture(browser, arguments.screens / f"{width}-{scheme}.png")
            return
        figures = timed(browser, arguments.page)
        for key, value in figures.items():
            print(f"{key:>18} {value:.2f}")
        results.append(arguments.csv, "report_page", arguments.page.parent.name, figures, ("selenium",))
    finally:
        browser.quit()


if __name__ == "__main__":
    main()
