"""The dashboards there are, in the order in which they are shown."""

from typing import Final

from streams.dashboards.client import OF_CLIENT
from streams.dashboards.live import LIVE
from streams.dashboards.month import MONTH
from streams.dashboards.pipeline import PIPELINE
from streams.dashboards.warned import WARNED

SCREENS: Final = (LIVE, OF_CLIENT, WARNED, MONTH, PIPELINE)
