"""The page in Firefox, from a file and offline: it plays, the model answers, a hidden tab draws, nothing is said."""

import shutil

import pytest

from tests.report.firefox import BINARY, Firefox


@pytest.fixture
def firefox():
    if shutil.which(BINARY) is None:
        pytest.skip("there is no Firefox: apt-get install firefox-esr")
    browsers = []

    def begin(**how):
        browsers.append(Firefox(**how))
        return browsers[-1]

    yield begin
    for browser in browsers:
        browser.end()


@pytest.mark.parametrize("reduced_motion", [False, True])
def test_it_plays_and_answers_and_says_nothing(firefox, small_page, reduced_motion):
    tab = firefox(reduced_motion=reduced_motion)
    tab("WebDriver:Navigate", url=small_page.as_uri())
    tab.wait("document.querySelector('.plot .main-svg')")
    assert tab.run("return matchMedia('(prefers-reduced-motion: reduce)').matches") is reduced_motion
    last = tab.run("return mechxlPage.step()")
    tab.run("document.getElementById('play').click()")
    tab.wait(f"mechxlPage.step() !== {last}")
    tab.run("document.getElementById('play').click(); document.getElementById('model').scrollIntoView()")
    tab.wait("document.querySelector('#model [role=status]').textContent.includes('the model answers')")
    tab.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    if not reduced_motion:
        behind = tab("WebDriver:NewWindow", type="tab", focus=False)["handle"]
        tab("WebDriver:SwitchToWindow", handle=behind, focus=False)
        tab("WebDriver:Navigate", url=small_page.as_uri())
        assert tab.run("return document.visibilityState") == "hidden"
        tab("WebDriver:SwitchToWindow", handle=behind, focus=True)
        tab.wait("document.visibilityState === 'visible' && document.querySelector('.plot .main-svg')")
    assert tab.said() == []
    tab.run("setTimeout(() => { document.title = 'planted'; throw new Error('planted'); })")
    tab.wait("document.title === 'planted'")
    assert "planted" in tab.said()[0][0]  # what is said is heard
