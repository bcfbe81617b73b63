"""The support bundle: what is in it, and above all what is not, wherever it was planted."""

import base64
import gzip
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.cli.bundle import FOLDER, MAX_BYTES, Member, _manifest, _within
from streams.cli.known_secrets import secrets_of
from streams.cli.redaction import MOST_LEARNT, REMOVED, Redaction
from tests.parts import ROOT

KAFKA: Final = 'kafka-p4ss"wörd\\7'
CLICKHOUSE: Final = "clickhouse/p4ss+word="
EMBEDDED: Final = "Emb3dded_password-of-the-engine"
APACHE: Final = "ap4che-listener-pass"
AWS: Final = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"
SHORT: Final = "hunt2"
SLACK: Final = "T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
MAIL: Final = "mailbox-p4ssw0rd"
HOOK: Final = "3f9d8a7c6b5e4d3c2b1a"
DQS: Final = "sx7nq2m5k9w3r8t4y6u1"
BRIEF_KEY: Final = "kx"
ABUSIX: Final = "abusixkeyonlyletters"
ELSEWHERE: Final = "kept-somewhere-else-99"

SECRETS: Final = {
    KAFKA,
    CLICKHOUSE,
    EMBEDDED,
    APACHE,
    AWS,
    SHORT,
    SLACK,
    *SLACK.split("/"),
    MAIL,
    HOOK,
    DQS,
    ABUSIX,
    ELSEWHERE,
}
PEM: Final = "-----{} EC PRIVATE" + " KEY-----"
"""In two pieces: the repository is searched for keys."""
PEOPLE: Final = ("anna.smith", "bob-the-buyer", "info+list", "carol", "Offer for Dora")

ENVIRON: Final = {
    "GOAWAY_KAFKA": "127.0.0.1:1",
    "GOAWAY_CLICKHOUSE": "127.0.0.1:1",
    "GOAWAY_KAFKA_USER": "shipper",
    "GOAWAY_KAFKA_PASSWORD": KAFKA,
    "GOAWAY_NOTIFY_URLS": f"slack://{SLACK}\nmailto://alerts:{MAIL}@smtp.example.org",
    "AWS_SECRET_ACCESS_KEY": AWS,
    "DOOR_TOKEN": SHORT,
}

POLICY: Final = f"""
[[zones]]
domain = "{DQS}.zen.dq.spamhaus.net"
name = "Spamhaus"
[[zones]]
domain = "{BRIEF_KEY}.sbl.dq.spamhaus.net"
[[zones]]
domain = "{ABUSIX}.combined.mail.abusix.zone"
[[zones]]
domain = "bl.example.org"
delisting = "https://bl.example.org/remove?token={HOOK}"
[[blocks]]
address = "192.0.2.77"
note = "asked by anna.smith@example.org"
"""


def spelt(secret: str) -> set[str]:
    """A secret as it can stand in a file."""
    return {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(secret, safe=""),
        base64.b64encode(secret.encode()).decode().rstrip("="),
        secret.encode().hex(),
    }


def log_with_everything() -> str:
    lines = [
        f"2026-11-24T10:00:00Z INFO a line: {spelling}, and more" for s in SECRETS for spelling in spelt(s)
    ]
    lines += [
        f"ERROR Kafka refused sasl.password={KAFKA}",
        f"ERROR https://hooks.example.org/services/{SLACK}?key={HOOK} answered 500",
        f"ERROR http://user:{MAIL}@proxy.example.org:3128 refused",
        f'ERROR body {{"api_key": "{ELSEWHERE}", "b": 1}}',
        f"ERROR Authorization: Bearer {ELSEWHERE}",
        f"WARNING 7.2.0.192.{DQS}.zen.dq.spamhaus.net timed out",
        f"WARNING 7.2.0.192.{BRIEF_KEY}.sbl.dq.spamhaus.net timed out",
        f"INFO the key {DQS} alone",
        f"DEBUG Proxy-Authorization: {base64.b64encode(f'me:{AWS}'.encode()).decode()}",
        "INFO refused 192.0.2.7 at RCPT: sender=<anna.smith@example.org>, sasl_username=<carol>",
    ]
    return "\n".join(lines) + "\n"


_WHO: Final = "h.example.net[192.0.2.7]"
MAIL_LOG: Final = f"""\
Nov 24 10:00:01 mx1 postfix/smtpd[77]: NOQUEUE: reject: RCPT from {_WHO}: 551 5.7.1 Go away; \
from=<anna.smith@example.net> to=<bob-the-buyer@example.org> proto=ESMTP helo=<h.example.net>
Nov 24 10:00:02 mx1 postfix/smtpd[77]: 4A1: client={_WHO}, sasl_method=PLAIN, sasl_username=carol
Nov 24 10:00:03 mx1 postfix/smtpd[77]: improper command pipelining after AUTH from u[2001:db8::1]: {ELSEWHERE}
Nov 24 10:00:04 mx1 postfix/cleanup[9]: 4A1: warning: header Subject: Offer for Dora from {_WHO}; \
from=<info+list@example.net>
Nov 24 10:00:05 mx1 postfix/smtpd[77]: < {_WHO}: AUTH PLAIN {ELSEWHERE}
Nov 24 10:00:06 mx1 dovecot: lmtp(carol)<12>: msgid=<x@example.net>: saved mail to INBOX
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with secrets in every corner, and a mail log that is followed."""
    tmp_path = tmp_path_factory.mktemp("house")
    data = tmp_path / "data"
    for folder in ("log", "status", "ship", "apache"):
        (data / folder).mkdir(parents=True)
    (data / "clickhouse.password").write_text(EMBEDDED + "\n")
    (data / "apache" / "password").write_text(APACHE)
    (data / "policy.toml").write_text(POLICY)
    (data / "log" / "worker.log").write_text(log_with_everything(), encoding="utf-8")
    (data / "log" / "notify.log").write_bytes(b"\xff\xfe not UTF-8 " + KAFKA.encode() + b"\n")
    (data / "status" / "reputation.json").write_text(
        json.dumps({"zones_out": f"{DQS}.zen.dq.spamhaus.net", "trouble": f"slack://{SLACK} said {KAFKA}"})
    )
    (data / "status" / "worker.json").write_text(json.dumps({"password": ELSEWHERE, "n": 1}))
    (tmp_path / "mail.log").write_text(MAIL_LOG)
    place = {
        "path": str(tmp_path / "mail.log"),
        "source": "s",
        "device": 1,
        "inode": 1,
        "generation": 0,
        "fingerprint": "f",
        "head_length": 1,
        "position": 0,
        "modified_ns": 0,
    }
    (data / "ship" / "mail.log.0.json").write_text(json.dumps(place))
    (tmp_path / "secret").write_text(CLICKHOUSE + "\n")
    return tmp_path


Made = tuple[dict[str, str], str, bytes]
"""Name → content of a bundle; what was printed; the archive unpacked, whole."""


@pytest.fixture(scope="module")
def with_log(house: Path) -> Made:
    """The bundle that has most in it."""
    return made(house, "with-log.tar.gz", "--with-log")


def made(house: Path, name: str, *flags: str) -> Made:
    """Run the command on that house."""
    file = house / name
    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", "bundle", str(file), "--data", str(house / "data"), *flags],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={**os.environ, **ENVIRON, "GOAWAY_CLICKHOUSE_PASSWORD_FILE": str(house / "secret")},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(file) as archive:
        found = {}
        for entry in archive:
            content = archive.extractfile(entry)
            assert content is not None
            assert (entry.uid, entry.uname, entry.mode) == (0, "", 0o644)
            assert entry.name.startswith(f"{FOLDER}/")
            found[entry.name.removeprefix(f"{FOLDER}/")] = content.read().decode()
    return found, done.stdout, gzip.decompress(file.read_bytes())


def test_no_byte_of_the_bundle_is_a_secret(with_log: Made) -> None:
    found, printed, whole = with_log
    for secret in SECRETS:
        for spelling in spelt(secret):
            assert spelling.encode() not in whole, spelling
            assert spelling not in printed
    assert f"{BRIEF_KEY}.sbl.dq" not in whole.decode()
    assert base64.b64encode(AWS.encode() * 3).decode()[8:40] not in whole.decode()
    for name in PEOPLE:
        assert name.encode() not in whole, name
    # what helps is still there
    log = found["log/worker.log"]
    assert log.count("\n") == log_with_everything().count("\n")
    assert f"a line: {REMOVED}, and more" in log
    assert f"7.2.0.192.{REMOVED}.zen.dq.spamhaus.net timed out" in log
    assert f"https://hooks.example.org/{REMOVED} answered 500" in log
    assert "bl.example.org" in found["policy/policy.toml"]
    mail = found["mail/1.log"]
    assert "from=<person-" in mail
    assert "@example.net> to=<person-" in mail
    assert "192.0.2.7" in mail
    assert mail.count("\n") == MAIL_LOG.count("\n")
    assert json.loads(found["status/worker.json"]) == {"password": REMOVED, "n": 1}


def test_it_says_what_is_in_it_and_what_could_not_be_had(with_log: Made) -> None:
    found, printed, _ = with_log
    manifest = found["MANIFEST.txt"]
    assert next(iter(found)) == "MANIFEST.txt"
    assert manifest in printed
    assert "Nothing was sent anywhere" in printed
    assert "&& find goaway-bundle -type f -exec less {} +" in manifest  # folders are in it, too
    for name in found.keys() - {"MANIFEST.txt"}:
        assert f"  {name} " in manifest, name
    had, _, missing = manifest.partition("What could not be had:")
    for name in ("kafka.json", "policy/in-force.toml", "policy/history.json", "statistics/days.json"):
        assert name not in found
        assert f"  {name} " in missing
        assert f"  {name} " not in had
    assert "127.0.0.1:1 does not answer" in missing
    assert re.search(r"^  secret: (1 time|(?!1 )\d[\d,]* times)$", manifest, re.MULTILINE)
    versions = json.loads(found["versions.json"])
    assert {"goaway", "python", "system", "postfix", "packages"} <= versions.keys()
    assert "faust-streaming" in versions["packages"]
    settings = {row["name"]: row["value"] for row in json.loads(found["settings.json"])}
    assert settings["GOAWAY_KAFKA_PASSWORD"] == "set, not shown"
    assert settings["GOAWAY_CLICKHOUSE_PASSWORD"] == "from a file, not shown"
    assert settings["GOAWAY_KAFKA"] == "127.0.0.1:1"
    assert any(row["about"] == "Kafka" for row in json.loads(found["doctor.json"]))
    assert json.loads(found["status.json"])["trouble"]


def test_whole_leaves_people_in_and_no_secret(house: Path) -> None:
    found, _, whole = made(house, "whole.tar.gz", "--with-log", "--whole")
    assert "from=<anna.smith@example.net>" in found["mail/1.log"]
    assert "--whole" in found["MANIFEST.txt"]
    for secret in SECRETS:
        assert secret.encode() not in whole


def test_a_log_is_cut_at_its_beginning_and_a_file_is_not_overwritten(house: Path) -> None:
    (house / "data" / "log" / "sink.log").write_text("".join(f"line {n}\n" for n in range(100_000)))
    found, _, _ = made(house, "bundle.tar.gz", "--log-kb", "4")
    assert "mail/1.log" not in found
    assert len(found["log/sink.log"]) <= 4096
    assert found["log/sink.log"].startswith("line ")
    assert found["log/sink.log"].endswith("line 99999\n")
    assert "of 1,088,890 bytes" in found["MANIFEST.txt"]
    again = subprocess.run(
        [sys.executable, "-m", "streams.cli", "bundle", str(house / "bundle.tar.gz")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )
    assert again.returncode == 2
    assert "is there already" in again.stderr


def test_the_whole_is_bounded() -> None:
    big = Member("log/a.log", "", b"x\n" * 6_000_000, "")
    kept = list(_within(MAX_BYTES, [big, big, big]))
    assert [len(one.content) for one in kept] == [12_000_000, 7_999_998, 0]
    assert "cut to" in kept[1].note
    assert sum(len(one.content) for one in kept) <= MAX_BYTES


def test_it_says_how_many_secrets_it_did_not_look_for_elsewhere() -> None:
    redaction = Redaction([], whole=False)
    assert "were looked for" not in _manifest([], redaction, "a.tar.gz", whole=False)
    redaction.learn("\n".join(f"sasl.password=geheim-{number:05}" for number in range(MOST_LEARNT + 1234)))
    said = _manifest([], redaction, "a.tar.gz", whole=False)
    assert f"the newest {MOST_LEARNT} were looked for in the others, 1,234 more were not" in said


@given(st.text(min_size=6, max_size=40).filter(lambda it: it.strip() == it and it not in REMOVED))
def test_a_known_secret_is_taken_out_in_any_spelling(secret: str) -> None:
    redaction = Redaction([secret], whole=True)
    for spelling in (secret, json.dumps(secret)[1:-1], quote(secret, safe=""), repr(secret)[1:-1]):
        clean = redaction.clean(f"a {spelling} b")
        assert secret not in clean
        assert spelling not in clean
        assert not redaction.leaks(clean)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda it: st.lists(it) | st.dictionaries(st.text(), it)
    )
)
def test_json_stays_json(value: object) -> None:
    clean = Redaction(["secret-of-mine"], whole=False).clean_values(value)
    assert json.loads(json.dumps(clean)) == clean


def test_names_keep_their_number() -> None:
    redaction = Redaction([], whole=False)
    once = redaction.clean("from=<a@x.org> to=<b@x.org>")
    assert once == "from=<person-1@x.org> to=<person-2@x.org>"
    assert redaction.clean(once) == once
    assert redaction.clean("to=<A@x.org>") == "to=<person-1@x.org>"


@pytest.mark.parametrize(
    ("line", "clean"),
    [
        (
            "improper command pipelining after AUTH from u[2001:db8::1]: c2VjcmV0 x",
            "…AUTH from u[2001:db8::1]: §",
        ),
        ("< h[192.0.2.7]: AUTH CRAM-MD5 c2VjcmV0", "…AUTH CRAM-MD5 §"),
        ("Authorization: Basic c2VjcmV0", "Authorization: Basic §"),
        ('{"token" : "c2Vj cmV0", "n": 1}', '{"token" : "§", "n": 1}'),
        ('said "{\\"api_key\\":\\"c2VjcmV0\\"}"', 'said "{\\"api_key\\":\\"§\\"}"'),
        ("sasl.password=c2VjcmV0, next", "sasl.password=§, next"),
        ("env['client_secret'] = 'c2Vj cmV0'", "env['client_secret'] = '§'"),
        ("ntfy://c2VjcmV0@ntfy.example.org/x failed", "ntfy://§ failed"),
        ("https://u:c2VjcmV0@h.example.org:8443 failed", "https://h.example.org:8443/§ failed"),
        ("https://h.example.org?k=c2VjcmV0 failed", "https://h.example.org/§ failed"),
        (f"{PEM.format('BEGIN')}\nc2VjcmV0\n{PEM.format('END')}\nnext", "§\nnext"),
        ("1.0.0.127.c2vjcmv0c2vjcmv0.bl.example.org", "1.0.0.127.§.bl.example.org"),
        ("c2.zen.dq.spamhaus.net", "§.zen.dq.spamhaus.net"),
    ],
)
def test_what_looks_like_a_secret_is_taken_out(line: str, clean: str) -> None:
    found = Redaction([], whole=True).clean(line)
    wanted = clean.replace("§", REMOVED)
    assert found.endswith(wanted[1:]) if wanted.startswith("…") else found == wanted
    assert "c2Vj" not in found


@pytest.mark.parametrize(
    "kept",
    [
        "zen.spamhaus.org and zen.dq.spamhaus.net",
        "http://127.0.0.1:9464 answers",
        "kafka at 127.0.0.1:9092, 4 partitions",
        "2026-11-24T18:07:52.864Z INFO streams.shim.run: answering on inet:127.0.0.1:20041",
        "host ec2-203-0-113-7.compute.example.com, version 9ad853542684",
        "warning: hostname mail1.example.org does not resolve to address 192.0.2.1",
    ],
)
def test_what_is_no_secret_stays(kept: str) -> None:
    assert Redaction(["on-the-list"], whole=False).clean(kept) == kept


def test_where_secrets_are_looked_for(tmp_path: Path) -> None:
    environ = {
        "PWD": "/home/goaway",
        "KEYBOARD": "us",
        "DEBUG_AUTH": "on",
        "API_KEY": "abcd",
        "DB_PASSWORD2": "efgh",
        "DATABASE_URI": "postgres",
        "SMTP_CREDS": "ijkl",
        "LANG": "C.UTF-8",
    }
    assert set(secrets_of(environ, tmp_path)) - {""} == {"abcd", "efgh", "postgres", "ijkl"}
