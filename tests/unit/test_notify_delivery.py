"""Delivery by apprise itself, to a real HTTP server and a real SMTP server; what is said where it fails."""

import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.agents.notify.courier import Courier
from streams.agents.notify.delivery import Outcome
from streams.agents.notify.services import MAX_SERVICES, Service, check, deliver, services_of
from streams.cli.notify import TEST_BODY, notify
from streams.config import SETTINGS, read_settings
from streams.errors import SettingsError, UnavailableError
from tests.notify_sinks import HttpSink, SmtpSink


def wait_until(true: Callable[[], object], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_message_reaches_a_web_hook_and_a_mail_box_as_plain_text() -> None:
    body = "1 block\n\n192.0.2.7\n  <b>evil</b> & *bold* \\n"
    with HttpSink() as hook, SmtpSink() as mail:
        for service in services_of(f"{hook.url}\n{mail.url}"):
            assert deliver(service, "goaway: 1 block", body) == Outcome(good=True)
    assert hook.messages[0]["message"] == body
    (message,) = mail.messages
    assert message["Subject"] == "goaway: 1 block"
    assert [part.get_content_type() for part in message.walk() if not part.is_multipart()] == ["text/plain"]
    assert message.get_body().get_content().replace("\r\n", "\n").rstrip("\n") == body  # type: ignore[union-attr]


def test_a_failure_has_a_cause_and_no_secret() -> None:
    with HttpSink() as hook, SmtpSink(refuse=True) as mail:
        hook.status = 401
        outcomes = [deliver(service, "t", "b") for service in services_of(f"{hook.url} {mail.url}")]
    assert outcomes == [
        Outcome(good=False, cause="HTTP status 401"),
        Outcome(good=False, cause="SMTP reply 550"),
    ]
    (closed,) = services_of("json://user:s3cret@127.0.0.1:9/t0ken")
    assert deliver(closed, "t", "b") == Outcome(good=False, cause="Connection refused")
    assert "s3cret" not in f"{closed!r}"


def test_a_service_that_never_answers_is_ended_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (service,) = services_of(
            f"mailto://127.0.0.1:{silent.getsockname()[1]}?from=a@b.example&to=c@d.example"
        )
        start = time.monotonic()
        assert deliver(service, "t", "b", within_s=3) == Outcome(good=False, cause="no end within 3 s")
        assert time.monotonic() - start < 6


def test_urls_are_not_on_any_command_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (service,) = services_of(f"json://u:s3cret-word@127.0.0.1:{silent.getsockname()[1]}/s3cret-path")
        thread = threading.Thread(target=deliver, args=(service, "t", "b"), kwargs={"within_s": 3})
        thread.start()
        seen, environments = "", ""
        while thread.is_alive():
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    line = (process / "cmdline").read_text()
                    if "notify.delivery" in line:
                        seen += line
                        environments += (process / "environ").read_text()
                except OSError:
                    continue
            time.sleep(0.05)
    assert "notify.delivery" in seen
    assert "s3cret" not in seen + environments


def test_urls_that_cannot_be_used_are_named_by_number_and_scheme_alone() -> None:
    with pytest.raises(SettingsError) as bad:
        check(services_of("json://127.0.0.1/x nosuch://u:s3cret@host/t0ken junk-s3cret"))
    assert "2 (nosuch), 3 (?)" in str(bad.value)
    assert "s3cret" not in str(bad.value)
    with pytest.raises(SettingsError, match="names no service"):
        services_of(" \n")
    with pytest.raises(SettingsError, match="names 21 services"):
        services_of("json://a " * (MAX_SERVICES + 1))


def test_the_setting_is_a_secret_and_may_be_a_file(tmp_path: Path) -> None:
    assert next(s for s in SETTINGS if s.name == "GOAWAY_NOTIFY_URLS").secret
    (tmp_path / "urls").write_text("json://a\nmailto://b\n")
    settings = read_settings({"GOAWAY_NOTIFY_URLS_FILE": str(tmp_path / "urls")})
    assert [service.name for service in services_of(settings.notify_urls)] == ["1 (json)", "2 (mailto)"]
    assert "mailto" not in repr(settings)


def test_the_test_command_says_of_each_service_whether_it_went_out() -> None:
    with HttpSink() as hook:
        urls = f"{hook.url} json://127.0.0.1:9/s3cret"
        done = CliRunner().invoke(notify, ["--test"], env={"GOAWAY_NOTIFY_URLS": urls})
        assert hook.messages[0]["message"] == TEST_BODY
    assert done.output == "1 (json): went out\n2 (json): NOT sent (Connection refused)\n"
    assert isinstance(done.exception, UnavailableError)
    assert "1 of 2 services" in str(done.exception)


class Fates:
    """What becomes of deliveries, service by service: chosen by the test, seen by the test."""

    def __init__(self) -> None:
        self.down: set[str] = set()
        self.got: list[tuple[str, str]] = []

    def deliver(self, service: Service, title: str, body: str) -> Outcome:
        if service.name in self.down:
            return Outcome(good=False, cause="Connection refused")
        self.got.append((service.name, title))
        return Outcome(good=True)


def test_a_dead_service_is_tried_again_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    fates = Fates()
    fates.down.add("1 (json)")
    courier = Courier(services_of("json://s3cret"), waits_s=(0.01,), deliver=fates.deliver)
    courier.start()
    with caplog.at_level(logging.INFO):
        number = courier.send("title", "body")
        wait_until(lambda: "Connection refused" in courier.trouble)
        time.sleep(0.2)
        assert (courier.free, courier.delivered()) == (False, [])
        fates.down.clear()
        wait_until(lambda: courier.free)
    assert courier.delivered() == [number]
    assert courier.delivered() == []
    assert courier.trouble == ""
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "s3cret" not in caplog.text
    courier.stop(5)


def test_one_dead_service_holds_up_no_other_and_is_given_up_in_time() -> None:
    fates = Fates()
    fates.down.add("2 (mailto)")
    courier = Courier(
        services_of("json://a mailto://b"), waits_s=(0.01,), give_up_s=3.0, deliver=fates.deliver
    )
    courier.start()
    numbers = []
    for _ in range(30):
        wait_until(lambda: courier.free)
        numbers.append(courier.send("t", "b"))
    wait_until(lambda: courier.free)
    assert len(fates.got) == 30
    assert set(courier.delivered()) < set(numbers)  # the second may still come back
    assert courier.given_up == 10
    time.sleep(3.1)
    courier.delivered()
    fates.down.clear()
    wait_until(lambda: courier.trouble == "")
    wait_until(lambda: len(fates.got) == 50)  # the twenty that waited
    courier.stop(5)
