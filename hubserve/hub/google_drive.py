"""Downloads files from Google Drive, if need be through its confirmation page, and reads the pages sent in place of a file."""

import urllib.parse
from dataclasses import replace
from pathlib import Path

from hubserve.errors import WeightsUnavailableError
from hubserve.hub.download import Download
from hubserve.hub.web_page import Form, WebPage, WebPageError

DRIVE = "https://drive.usercontent.google.com/download"
"""URL from which Google Drive sends files."""

QUOTA = ("quota exceeded", "too many users have viewed or downloaded")
"""Texts, in lower case, of the page that Google Drive sends while too many people download a file."""

SIGN_IN = ("sign in", "sign-in", "you need access", "request access")
"""Texts, in lower case, in the titles of the pages that Google sends if a file is not shared with everybody."""


def drive_address(file: str) -> str:
    """Returns the URL of a file on Google Drive, given its id.

    It confirms in advance that the file may be too large for Google's virus scan; for some files this is not enough, and a
    page with a form is sent, which `confirmed_address` reads.
    """
    return f"{DRIVE}?{urllib.parse.urlencode({'id': file, 'export': 'download', 'confirm': 't'})}"


def fetch_from_drive(download: Download) -> Path:
    """Downloads a file of Google Drive, through the confirmation page if one is sent, and returns its path.

    Args:
        download: The download, whose URL is one of `drive_address`.

    Raises:
        WeightsUnavailableError: The download failed, or Google Drive sends another page than the confirmation page.
        ChecksumError: The SHA-256 of the downloaded file is not the expected one.
        StorageError: The disk is full, faulty or not writable.
    """
    try:
        return download.fetch()
    except WebPageError as error:
        confirmed = confirmed_address(error.page)
    try:
        return replace(download, url=confirmed).fetch()
    except WebPageError as error:
        raise WeightsUnavailableError(refusal(error.page)) from error


def confirmed_address(page: WebPage) -> str:
    """Returns the URL of the file that the form of a confirmation page leads to.

    Raises:
        WeightsUnavailableError: The page is another one, such as that of an exceeded quota, or its form leads to another host.
    """
    form = _confirmation(page)
    if form is None:
        raise WeightsUnavailableError(refusal(page))
    action = urllib.parse.urlsplit(form.action)
    expected = urllib.parse.urlsplit(DRIVE)
    if (action.scheme, action.netloc) != (expected.scheme, expected.netloc):
        raise WeightsUnavailableError(
            f"the confirmation page of Google Drive leads to {action.scheme}://{action.netloc}, and only "
            f"{expected.scheme}://{expected.netloc} is asked"
        )
    query = dict(urllib.parse.parse_qsl(action.query)) | form.fields
    return urllib.parse.urlunsplit(action._replace(query=urllib.parse.urlencode(query), fragment=""))


def refusal(page: WebPage) -> str:
    """Returns the reason, for error messages, why Google Drive sends `page` in place of a file."""
    title, words = page.title.casefold(), f"{page.title} {page.text}".casefold()
    if any(text in words for text in QUOTA):
        return "Google Drive's quota for downloads of this file is exceeded; it sends the file again within about 24 hours"
    host = urllib.parse.urlsplit(page.url).hostname
    if host == "accounts.google.com" or any(text in title for text in SIGN_IN):
        return "Google Drive asks to sign in: the file is not, or no longer, shared with everybody"
    if _confirmation(page) is not None:
        return "Google Drive asks to confirm the download again, after it was confirmed"
    return f"Google Drive sends a web page in place of the file: HTTP {page.status}, {page.summary}"


def _confirmation(page: WebPage) -> Form | None:
    """Returns the form of a confirmation page; None if `page` is another one."""
    if page.status != 200:
        return None
    return next((form for form in page.forms if {"id", "confirm"} <= form.fields.keys()), None)
