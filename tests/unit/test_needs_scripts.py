"""Pages that need scripts: empty shells, as opposed to pages that merely have scripts."""

import pytest

from crawlyard.core.jobs.spec import TextMode
from crawlyard.engine.extract.page import ExtractOptions, PageSource, extract

SCRIPT = '<script type="module" src="/assets/index-4f2a.js"></script>'
ANALYTICS = (
    '<script async src="https://www.googletagmanager.com/gtag/js?id=G-1"></script>'
    "<script>window.dataLayer = window.dataLayer || []; function gtag(){dataLayer.push(arguments)}"
    "gtag('js', new Date()); gtag('config', 'G-1');</script>"
)
WORDS = "<p>" + "A sentence with some words in it. " * 20 + "</p>"
FOOTER = '<footer><a href="/imprint">Imprint</a> <a href="/privacy">Privacy</a> © 2026</footer>'
NAV = "<nav>" + "".join(f'<a href="/{n}">Chapter {n}</a>' for n in range(12)) + "</nav>"


def page(body: str, head: str = "") -> str:
    return (
        f"<!doctype html><html><head><title>A title</title>{head}</head><body>{body}</body></html>"
    )


SHELLS = {
    "React": page(
        '<noscript>You need to enable JavaScript to run this app.</noscript><div id="root"></div>',
        SCRIPT,
    ),
    "React without a hint": page('<div id="root"></div>', SCRIPT),
    "React with a splash": page(
        '<div id="root"><img src="/logo.svg"><p>Loading…</p></div>' + SCRIPT
    ),
    "Vue": page(
        "<noscript><strong>We're sorry but shop doesn't work properly without JavaScript enabled. "
        'Please enable it to continue.</strong></noscript><div id="app"></div>' + SCRIPT
    ),
    "Vue with a footer": page(f'<div id="app"></div>{FOOTER}{SCRIPT}'),
    "Angular": page("<app-root></app-root>" + SCRIPT),
    "Angular that loads": page("<app-root>Loading...</app-root>" + FOOTER + SCRIPT),
    "Next": page(
        '<div id="__next"></div><script id="__NEXT_DATA__" type="application/json">'
        '{"props":{"pageProps":{"title":"A long story"}}}</script>',
        '<script src="/_next/static/chunks/main.js" defer></script>',
    ),
    "Nuxt": page('<div id="__nuxt"></div><script>window.__NUXT__={}</script>' + SCRIPT),
    "Svelte": page('<div style="display: contents"><script>{import("/app.js")}</script></div>'),
    "no element at all": page("", SCRIPT),
    "a hint and a logo": page(
        '<img src="/logo.png" alt="Shop"><noscript>Please turn on JavaScript.</noscript>' + SCRIPT
    ),
    "a hint in another language": page(
        "<h1>Laden</h1><noscript>Bitte schalten Sie JavaScript ein.</noscript>" + FOOTER + SCRIPT
    ),
    "a redirect by a script": page('<script>location="/home"</script>'),
    "a redirect by a script that says so": page(
        "<p>Redirecting to the new site, please wait …</p>"
        "<script>window.location.href = '/new';</script>"
    ),
    "data and no text": page(
        '<script>window.data = {"a": ' + '"b", ' * 900 + '"c": 1}</script><p>Loading</p>'
    ),
    "data of JSON": page('<script type="application/json">{"articles": ["One", "Two"]}</script>'),
    "a pixel for those without scripts": page(
        '<noscript><img src="/pixel.gif"></noscript><div id="root"></div>' + SCRIPT
    ),
    "white space": page("\n" * 1_000 + '<div id="root">\n   \n</div>' + SCRIPT),
}

PAGES = {
    "without scripts": page("<p>Hello"),
    "empty and without scripts": page(""),
    "an empty root without scripts": page('<div id="root"></div>'),
    "short, with analytics": page("<p>Hello, this is my page." + ANALYTICS),
    "very short, with analytics": page("<h1>It works!</h1>" + ANALYTICS),
    "an analytics pixel": page(
        f'{WORDS}<noscript><img height="1" width="1" src="https://example.org/tr?id=1"></noscript>',
        ANALYTICS,
    ),
    "a hint on a page that has its text": page(
        f"<noscript>Please enable JavaScript to see comments.</noscript>{WORDS}{WORDS}" + SCRIPT
    ),
    "a hint beside a navigation": page(
        f"<noscript><div>JavaScript is disabled on your browser.</div></noscript>{NAV}<p>Package x"
        + SCRIPT
    ),
    "rendered by the server": page(f'<div id="root">{WORDS}</div>{SCRIPT}'),
    "a widget at an empty root": page(f'<div id="app"></div>{WORDS * 3}{SCRIPT}'),
    "a navigation and little else": page(f"{NAV}<h1>Index</h1>{SCRIPT}"),
    "an image": page('<img src="/comic.png" alt="A comic">' + ANALYTICS),
    "a video": page('<video src="/film.webm"></video>' + ANALYTICS),
    "frames": "<script>var a</script><frameset><frame src=a><frame src=b></frameset>",
    "a frame": page('<iframe src="/inner"></iframe>' + SCRIPT),
    "a refresh and a script": page(
        "<script>window.location.replace('overview.html')</script><p>Redirecting</p>",
        '<meta http-equiv="refresh" content="0;overview.html">',
    ),
    "a link in case the script fails": page(
        '<script>location = "/new"</script><p>Moved <a href="/new">here</a></p>'
    ),
}


def needs_scripts(html: str, text: TextMode = TextMode.TEXT) -> bool:
    source = PageSource(url="http://h.example/", charset="utf-8", options=ExtractOptions(text=text))
    return extract(html.encode(), source).needs_scripts


@pytest.mark.parametrize("mode", TextMode)
def test_a_shell_needs_scripts_in_every_text_mode(mode: TextMode) -> None:
    assert {name for name, html in SHELLS.items() if not needs_scripts(html, mode)} == set()


@pytest.mark.parametrize("mode", TextMode)
def test_a_page_that_says_something_needs_none(mode: TextMode) -> None:
    assert {name for name, html in PAGES.items() if needs_scripts(html, mode)} == set()


def test_looking_for_it_changes_nothing_that_is_extracted() -> None:
    body = page('<div id="root"></div><script id="d">one</script><noscript>two</noscript>').encode()

    options = ExtractOptions(TextMode.TEXT, (("s", "#d"), ("n", "noscript")))
    extracted = extract(body, PageSource(url="http://h/", charset="utf-8", options=options))

    assert extracted.needs_scripts
    assert (extracted.title, extracted.text) == ("A title", "two")
    assert extracted.extracted == {"s": ("one",), "n": ("two",)}
