"""The report in a browser: Debian's Chromium, driven by its own driver.

To install them: apt-get install chromium chromium-driver.
"""

import json
import shutil

import pytest

import luxscale as lux
from luxscale import store
from luxscale.labelling.run import label_survey
from luxscale.report import write_report
from luxscale.schema import flags

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="no chromium or chromedriver: apt-get install chromium chromium-driver",
    ),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory, world):
    """A report with all sections, of few stars."""
    folder = tmp_path_factory.mktemp("browser")
    survey = world.survey(300, seed=1)
    paths = {name: folder / f"{name}.zarr" for name in ("survey", "model")}
    store.write_dataset(survey, paths["survey"], chunk=64)
    lux.train(survey, 4, folds=2, iterations=2, progress=False).save(paths["model"])
    label_survey(*paths.values(), folder / "catalog.zarr", progress=False)
    write_report(
        folder / "catalog.zarr", folder / "a.html", truth=paths["survey"], **paths, progress=False
    )
    return (folder / "a.html").as_uri()


@pytest.fixture(scope="module")
def started():
    """A browser without a window; all that it logs and asks for is kept."""
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--window-size=1280,900",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture
def browser(started, page):
    """The browser with the page just opened."""
    started.get(page)
    return started


def column(browser, table, at):
    script = (
        "return Array.from(arguments[0].tBodies[0].rows, (row) => "
        "row.cells[arguments[1]].textContent.trim())"
    )
    return browser.execute_script(script, table, at)


def find_table(browser, caption):
    return browser.find_element("xpath", f"//table[caption[starts-with(., '{caption}')]]")


def number(text):
    return float(text.replace(",", "").replace("\N{MINUS SIGN}", "-").rstrip("%"))


def test_a_click_on_a_heading_sorts_numbers_as_numbers(browser):
    table = find_table(browser, "Flags")
    (heading,) = table.find_elements("xpath", ".//thead//th[. = 'value']")
    button = heading.find_element("tag name", "button")
    assert heading.get_attribute("aria-sort") is None
    button.click()
    values = [number(v) for v in column(browser, table, 1)]
    assert values == sorted(values) and heading.get_attribute("aria-sort") == "ascending"
    button.click()
    turned = [number(v) for v in column(browser, table, 1)]
    assert turned == values[::-1] and heading.get_attribute("aria-sort") == "descending"
    assert turned[0] == max(flags.ATTRS["flag_masks"])  # as text 8 would come before


def test_the_keyboard_sorts_text_and_one_column_at_a_time(browser):
    from selenium.webdriver.common.keys import Keys

    table = find_table(browser, "Inferred labels")
    headings = table.find_elements("css selector", "thead th")
    before = column(browser, table, 0)
    for at in (2, 0):
        headings[at].find_element("tag name", "button").send_keys(Keys.ENTER)
    assert column(browser, table, 0) == sorted(before) != before
    assert [h.get_attribute("aria-sort") for h in headings] == [
        "ascending",
        *[None] * (len(headings) - 1),
    ]


def test_negative_numbers_sort_below_positive_ones_and_unknown_ones_last(browser):
    table = find_table(browser, "Inferred labels")
    script = (
        "const c = arguments[0].tBodies[0].rows[0].cells[3]; c.dataset.value = ''; c.textContent = "
        "'none'"
    )
    browser.execute_script(script, table)
    button = table.find_elements("css selector", "thead button")[3]
    for _ in range(2):
        button.click()
        values = column(browser, table, 3)
        assert values[-1] == "none"
        shown = [number(v) for v in values[:-1]]
        assert shown == sorted(shown, reverse=_ == 1)
    assert min(shown) < 0


@pytest.mark.parametrize("way", ["escape", "click", "button"])
def test_a_figure_is_enlarged_and_closed(browser, way):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    figure, dialog = (
        browser.find_elements("css selector", ".zoom")[0],
        browser.find_element("css selector", "dialog"),
    )
    small = figure.find_element("tag name", "img")
    assert not dialog.is_displayed()
    browser.execute_script("arguments[0].focus()", figure)
    figure.send_keys(Keys.ENTER)
    large = dialog.find_element("tag name", "img")
    assert dialog.is_displayed() and large.get_attribute("src") == small.get_attribute("src")
    assert large.size["height"] > 1.5 * small.size["height"] and large.get_attribute(
        "alt"
    ) == small.get_attribute("alt")
    if way == "escape":
        ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    else:
        (large if way == "click" else dialog.find_element("css selector", ".close")).click()
    assert not dialog.is_displayed()
    assert browser.switch_to.active_element == figure


def test_a_tall_figure_is_enlarged_to_the_width_and_scrolls(browser):
    small, dialog = (browser.find_element("css selector", name) for name in (".zoom img", "dialog"))
    scrolls = "return arguments[0].scrollHeight > arguments[0].clientHeight"
    small.click()
    fitted = dialog.find_element("tag name", "img").size["height"]
    assert not browser.execute_script(scrolls, dialog)
    dialog.click()
    browser.execute_script("arguments[0].style.height = '700px'", small)
    small.click()
    assert browser.execute_script(scrolls, dialog)
    assert dialog.find_element("tag name", "img").size["height"] > fitted


def test_links_of_the_contents_lead_to_sections(browser):
    links = browser.find_elements("css selector", "nav ol a")
    assert len(links) == 8
    links[-1].click()
    heading = browser.find_element("id", links[-1].get_attribute("href").partition("#")[2])
    assert browser.execute_script("return arguments[0].getBoundingClientRect().top", heading) < 900


def test_all_images_are_shown(browser):
    script = (
        "return Array.from(document.querySelectorAll('figure img'), (i) => i.complete && "
        "i.naturalWidth)"
    )
    sizes = browser.execute_script(script)
    assert len(sizes) == 16 and all(sizes)


@pytest.mark.parametrize("width", [480, 1280])
def test_the_page_is_no_wider_than_the_window(browser, width):
    command = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", command)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_nothing_is_asked_for_and_nothing_goes_wrong(started, page):
    for kind in ("browser", "performance"):
        started.get_log(kind)  # what was logged before
    started.get(page)
    started.find_elements("css selector", ".zoom")[0].click()
    assert started.get_log("browser") == []
    assert (
        started.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)")
        == []
    )
    events = [json.loads(entry["message"])["message"] for entry in started.get_log("performance")]
    asked = {
        e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"
    }
    assert {url for url in asked if not url.startswith("data:")} == {page}


def test_the_page_itself_forbids_the_network(browser):
    script = (
        "const done = arguments[0]; fetch('http://127.0.0.1:9/').then(() => done('sent'), (e) => "
        "done(String(e)))"
    )
    browser.set_script_timeout(10)
    refused = browser.execute_async_script(script)
    browser_log = " ".join(entry["message"] for entry in browser.get_log("browser"))
    assert refused != "sent" and "Content Security Policy" in browser_log
