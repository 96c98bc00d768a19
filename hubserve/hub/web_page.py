"""Reads the web pages that servers send in place of files: `read_page` finds the title, the text and the forms of a page."""

import urllib.parse
from dataclasses import dataclass
from html.parser import HTMLParser

import httpx2

from hubserve.errors import WeightsUnavailableError

MOST_PAGE_BYTES = 2**20
"""Number of bytes of a web page that are read; the rest is ignored."""

MOST_TITLE = 100
"""Number of characters of a page's title in messages; the rest is cut off."""


@dataclass(frozen=True)
class Form:
    """A form of a web page.

    Attributes:
        action: Absolute URL to which the form is sent.
        fields: Value of each input of the form that has a name, by name.
    """

    action: str
    fields: dict[str, str]


@dataclass(frozen=True)
class WebPage:
    """An answer of a server that is a web page.

    Attributes:
        url: URL of the page, after all redirects.
        status: HTTP status code of the answer.
        title: Content of the element `title`; empty if the page has none.
        text: All text of the page but the title, scripts and styles, with single spaces.
        forms: Forms of the page, in their order.
    """

    url: str
    status: int
    title: str
    text: str
    forms: tuple[Form, ...]

    @property
    def summary(self) -> str:
        """The title of the page, or else the beginning of its text, in quotes, and the host that sent it."""
        said = " ".join((self.title or self.text).split())
        shortened = said if len(said) <= MOST_TITLE else f"{said[:MOST_TITLE]}..."
        return f"{shortened!r} from {urllib.parse.urlsplit(self.url).netloc}"


class WebPageError(WeightsUnavailableError):
    """Raised if a server sends a web page in place of a file.

    Attributes:
        page: The web page.
    """

    def __init__(self, message: str, page: WebPage) -> None:
        super().__init__(message)
        self.page = page


def is_web_page(answer: httpx2.Response) -> bool:
    """Returns True if the headers of an answer say that its body is HTML."""
    return "html" in answer.headers.get("content-type", "")


def receive_page(answer: httpx2.Response) -> WebPage:
    """Reads the body of an answer, at most `MOST_PAGE_BYTES` of it, and returns it as a page.

    Raises:
        httpx2.TransportError: The connection failed.
    """
    body = b""
    for chunk in answer.iter_bytes():
        body += chunk
        if len(body) >= MOST_PAGE_BYTES:
            break
    return read_page(body[:MOST_PAGE_BYTES].decode("utf-8", "replace"), url=str(answer.url), status=answer.status_code)


def read_page(html: str, *, url: str, status: int = 200) -> WebPage:
    """Returns the page with this HTML; HTML that is malformed or cut off is read as far as possible.

    Args:
        html: Content of the page.
        url: URL of the page, after all redirects; actions of forms may be relative to it. An action that gives no valid URL
            becomes the empty text.
        status: HTTP status code of the answer.
    """
    parser = _PageParser()
    try:
        parser.feed(html)
        parser.close()
    except AssertionError:  # The standard library's parser has some for malformed declarations.
        pass
    forms = tuple(Form(_absolute(url, action), fields) for action, fields in parser.forms)
    return WebPage(url, status, _spaced(parser.title), _spaced(parser.text), forms)


class _PageParser(HTMLParser):
    """Collects the title, the text and the forms of a page while it is fed with HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.title: list[str] = []
        self.text: list[str] = []
        self.forms: list[tuple[str, dict[str, str]]] = []
        self._inside: dict[str, bool] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Opens a form, adds an input to the open form, or notes that what follows is a title, a script or a style."""
        values = {name: value or "" for name, value in attrs}
        self._inside[tag] = True
        if tag == "form":
            self.forms.append((values.get("action", ""), {}))
        elif tag == "input" and self._inside.get("form") and values.get("name"):
            self.forms[-1][1][values["name"]] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        """Notes that the element ends."""
        self._inside[tag] = False

    def handle_data(self, data: str) -> None:
        """Adds text to the title or to the text of the page, unless it is that of a script or a style."""
        if self._inside.get("title"):
            self.title.append(data)
        elif not (self._inside.get("script") or self._inside.get("style")):
            self.text.append(data)


def _absolute(url: str, action: str) -> str:
    """Returns the absolute URL of a form's action on the page `url`; an empty string if the action is not a valid URL."""
    try:
        return urllib.parse.urljoin(url, action)
    except ValueError:
        return ""


def _spaced(parts: list[str]) -> str:
    """Returns the parts as one text with single spaces between words."""
    return " ".join(" ".join(parts).split())
