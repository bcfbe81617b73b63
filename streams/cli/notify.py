"""`goaway notify`: tell people by mail, desktop or chat; and try whether it arrives."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from streams.cli.options import (
    load_policy,
    metrics_option,
    policy_option,
    reported,
    settings,
    start_logging,
    status_option,
)
from streams.cli.stages import stop_on_signals
from streams.errors import UnavailableError

TEST_TITLE = "goaway: a test"
TEST_BODY = "This is a test message of goaway notify. Warnings and notices will arrive here."


@click.command()
@click.option("--test", is_flag=True, help="Send a test message to every service now, and say what happened.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="GOAWAY_DATA",
    help="Folder of a goaway up whose stages are looked after too.",
)
@policy_option
@status_option
@metrics_option
def notify(
    test: bool,
    data: Path | None,
    policy_file: Path | None,
    status_file: Path | None,
    metrics_listen: tuple[str, int] | None,
) -> None:
    """Tell people: warnings, blocks, trouble, in digests, to the services of GOAWAY_NOTIFY_URLS."""
    if test:
        _test()
        return
    start_logging()
    from streams.agents.notify.run import run_notify

    run_notify(
        settings(),
        load_policy(policy_file),
        status=reported("notify", status_file, metrics_listen),
        stop=stop_on_signals(),
        data=data,
    )


def _test() -> None:
    """One line a service; `UnavailableError` where one did not take the message."""
    from streams.agents.notify.services import check, deliver, services_of

    services = services_of(settings().notify_urls)
    check(services)
    failed = 0
    with ThreadPoolExecutor(len(services)) as pool:
        outcomes = pool.map(lambda service: deliver(service, TEST_TITLE, TEST_BODY), services)
        for service, outcome in zip(services, outcomes, strict=True):
            failed += not outcome.good
            click.echo(f"{service.name}: {'went out' if outcome.good else f'NOT sent ({outcome.cause})'}")
    if failed:
        raise UnavailableError(
            f"{failed} of {len(services)} services did not take the test message",
            try_next="correct GOAWAY_NOTIFY_URLS, then goaway notify --test",
        )
