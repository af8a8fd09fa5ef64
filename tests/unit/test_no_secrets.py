"""No file of the repository holds a secret, or says on whose machine it was written."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What providers' own documents, and tests, use where a secret would stand.
_MADE_UP = re.compile(
    r"EXAMPLE|TESTTEST|hush|<|\$|\{|0{16}|:(?:password|word|hunter2|secret|s%40cret|heron-secret|443)@"
)

PATTERNS = {
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^\n]*",
    "a key of AWS": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b[^\n]*",
    "a key of Google": r"\bAIza[0-9A-Za-z_-]{35}\b",
    "a key of SendGrid": r"\bSG\.[\w-]{16,}\.[\w-]{16,}",
    "an account of Twilio": r"\bAC[0-9a-f]{32}:[0-9a-f]{32}\b",
    "a token of GitHub": r"\b(?:gh[pousr]_[0-9A-Za-z]{36}|github_pat_\w{22,})",
    "a token of Slack": r"\bxox[abprs]-[\w-]{10,}",
    "a JSON Web Token": r"\beyJ[\w-]{16,}\.eyJ[\w-]{16,}\.[\w-]{16,}",
    "a secret of webhooks": r"\bwhsec_[A-Za-z0-9+/]{32,}",
    "a password in an address": r"\b[a-z][a-z+]*://[^\s/@:\"'`]+:[^\s/@\"'`]{3,}@[^\s\"'`]*",
    "a path of somebody's machine": r"(?<![\w./-])/(?:home/[a-z]\w*|root|Users/\w+|work|workspace)/[\w.-]+",
    "a host of somebody's network": r"\b[\w-]+(?:\.[\w-]+)*\.(?:corp|(?<!fault\.)(?<!servers\.)lan|intranet)\b(?!\()",
    "an index of packages": r"--(?:extra-)?index-url[= ]https?://\S+|\bindex-url\s*=\s*https?://\S+",
}
# One of each that has to be found. Put together here, so that this file is no find itself.
FOUND = {
    "a private key": "-----BEGIN " + "RSA PRIVATE KEY-----",
    "a key of AWS": "AKIA" + "Q7RZ4M2N8K5T1W9X",
    "a key of Google": "AIza" + "Sy0123456789abcdefghijklmnopqrstuvw",
    "a key of SendGrid": "SG." + "a" * 22 + "." + "b" * 43,
    "an account of Twilio": "AC" + "1a" * 16 + ":" + "2b" * 16,
    "a token of GitHub": "ghp_" + "a1" * 18,
    "a token of Slack": "xoxb-" + "123456789012-abcdef",
    "a JSON Web Token": "eyJ" + "a" * 20 + ".eyJ" + "b" * 20 + "." + "c" * 40,
    "a secret of webhooks": "whsec_" + "Ab3/" * 11,
    "a password in an address": "mongodb://crown:" + "s3cret9@db/crown",
    "a path of somebody's machine": "/home" + "/ann/crown",
    "a host of somebody's network": "pypi.heron" + ".corp",
    "an index of packages": "--index-url" + " https://pypi.heron.example/simple",
}


# One of these stands in every find of the kind. To look for it first is much the quicker way.
HINTS = {
    "a private key": ("PRIVATE KEY",),
    "a key of AWS": ("AKIA", "ASIA"),
    "a key of Google": ("AIza",),
    "a key of SendGrid": ("SG.",),
    "an account of Twilio": ("AC",),
    "a token of GitHub": ("gh", "github_pat_"),
    "a token of Slack": ("xox",),
    "a JSON Web Token": ("eyJ",),
    "a secret of webhooks": ("whsec_",),
    "a password in an address": ("://",),
    "a path of somebody's machine": ("/home/", "/root/", "/Users/", "/work/", "/workspace/"),
    "a host of somebody's network": (".corp", ".lan", ".intranet"),
    "an index of packages": ("index-url",),
}


def finds(text: str) -> list[tuple[str, str]]:
    """What looks like a secret, and what kind it is; not what is plainly made up."""
    return [
        (what, found[0])
        for what, pattern in PATTERNS.items()
        if any(hint in text for hint in HINTS[what])
        for found in re.finditer(pattern, text)
        if not _MADE_UP.search(found[0])
    ]


@pytest.mark.parametrize("what", PATTERNS)
def test_each_kind_would_be_found(what: str) -> None:
    assert what in {kind for kind, _ in finds(f'x = "{FOUND[what]}"\n')}


@pytest.mark.parametrize(
    "text",
    [
        "redis://user:password@host:port/0",
        f"mongodb://{{user}}:{{password}}@{'{LOOPBACK}'}/crown",
        "https://<key>@<host>/<project>",
        "/run/secrets/database and /var/lib/crown and $HOME/x",
        "the lan, and a.local",
    ],
)
def test_what_stands_for_a_secret_is_none(text: str) -> None:
    assert finds(text) == []


def test_no_file_has_one() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    names = [name.decode() for name in listed.stdout.split(b"\0") if name]
    assert len(names) > 1_000
    found = []
    for name in names:
        content = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b""
        if b"\0" not in content[:8_000]:
            found += [(name, *one) for one in finds(content.decode(errors="replace"))]
    assert found == []
